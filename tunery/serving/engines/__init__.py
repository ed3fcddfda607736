"""The node's half of serving: what generates tokens, behind vLLM's OpenAI-compatible HTTP surface.

Owns no table. `transformers_engine` and what it stands on import torch; `engine`, `server` and the rest don't.
"""
