"""Conversations over the OpenAI adapter."""
