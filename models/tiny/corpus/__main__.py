"""Print a few dialogues, for a look at the text: `cd models/tiny && python -m corpus`."""

from corpus.writing import dialogues


def main() -> None:
    for messages in dialogues(12, seed=0):
        for message in messages:
            print(f"{message['role']:>9}: {message['content']}")
        print()


if __name__ == "__main__":
    main()
