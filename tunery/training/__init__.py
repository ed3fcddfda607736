"""Fine-tuning as the control plane sees it: base models, data sets, quotes, training jobs, leases, adapters.

Owns the tables `base_models`, `data_sets`, `quotes`, `training_jobs`, `training_events`, `checkpoints`, `adapters`,
`adapter_versions` and `nodes`. Imports no training stack: tokens are counted with `tokenizers`, and the training
itself is `training_workers`' business.
"""
