"""Adapters' files over the Hugging Face hub's wire protocol: `huggingface_hub` and `peft` fetch them unmodified.

Reads only, and owns no table. What each endpoint answers was measured against huggingface_hub 2.4 and 0.36.
"""
