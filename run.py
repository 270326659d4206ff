"""Folder of videos in, one emotion report per video out: python run.py --path_video video/ --path_save report/"""

from emo_affectnet.cli import run

if __name__ == "__main__":
    run()
