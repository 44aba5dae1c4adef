"""OpenAI's words for what is here, and ours for what its clients ask. The routes: :mod:`api.routes.openai`."""
