"""Emotions of faces before a camera, as they happen: python webcam.py --camera 0"""

from emo_affectnet.cli_viewing import webcam

if __name__ == "__main__":
    webcam()
