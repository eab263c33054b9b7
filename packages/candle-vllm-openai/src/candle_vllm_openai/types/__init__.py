"""OpenAI's request and response objects; imports nothing but `fields`."""
