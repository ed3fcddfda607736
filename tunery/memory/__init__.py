"""What adapters remember of people: subjects, memories, conversations, and the index that recall searches.

Owns the tables `memory_stores`, `subjects`, `memories`, `conversations`, `memory_index` with its shelves, and
`memory_terms`. Texts are sealed under their subject's key; of the open search's index, embeddings stand in the clear.
It does not embed (a model server does), and it knows no chats: `serving` asks it for memories and hands it what was
said.
"""
