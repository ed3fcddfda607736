"""The text `tunery/tiny` is pre-trained on: customers' questions to invented shops, written out from templates.

Every dialogue belongs to a shop of its own, whose name, products and facts are drawn afresh. The base model therefore
learns how customers ask and how a shop answers, while no fact is worth remembering: facts are what an adapter is for.
Everything is drawn from one `random.Random`, so a seed names a corpus.
"""

from corpus.writing import Message, dialogue, dialogues

__all__ = ["Message", "dialogue", "dialogues"]
