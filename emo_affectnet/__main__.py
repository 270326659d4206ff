"""python -m emo_affectnet is the command emo-affectnet."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="emo-affectnet")
