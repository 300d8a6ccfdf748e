"""Trained models as files that run where seqjax is not installed."""
