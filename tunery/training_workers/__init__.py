"""The node's half of training: QLoRA on a quantised base, checkpoints, evaluation, export of the adapter.

Owns no table; what it writes goes through `training`, under a lease. The only room beside `serving.engines` that
imports torch, transformers, peft and bitsandbytes.
"""
