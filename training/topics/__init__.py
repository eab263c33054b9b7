"""All topics: what a newcomer asks about candle-vllm, and its answers."""

from . import about, engine, features, library, models, planned, project, run, sampling, server, social
from .outside import OUTSIDE
from .topic import Topic

TOPICS: tuple[Topic, ...] = (
    *(project.TOPICS + run.TOPICS + server.TOPICS + sampling.TOPICS + library.TOPICS),
    *(engine.TOPICS + models.TOPICS + about.TOPICS + features.TOPICS + planned.TOPICS + social.TOPICS),
)

__all__ = ["OUTSIDE", "TOPICS", "Topic"]
