"""Adapters at work: deployments, the OpenAI-compatible gateway, inference engines on nodes, token metering.

Owns the table `deployments`. `engines/` alone imports torch; the gateway reaches engines over HTTP.
"""
