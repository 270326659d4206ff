"""Videos and reports in, annotated videos out: python visualization.py --path_video video/ --path_report report/"""

from emo_affectnet.cli_viewing import visualization

if __name__ == "__main__":
    visualization()
