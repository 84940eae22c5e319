"""Sagas: plain code of recorded steps, which goes on after any crash and can be undone."""

from ._errors import (
    EventTimeout,
    SagaCancelled,
    SagaChanged,
    SagaFailed,
    StepFailed,
    StepOutcomeUnknown,
    StepTimeout,
    UnknownSaga,
)
from ._handle import SagaRef, Sagas, SagaStatus, sagas
from ._running import step_key
from ._saga import Saga, exactly_once

__all__ = [
    "EventTimeout",
    "Saga",
    "SagaCancelled",
    "SagaChanged",
    "SagaFailed",
    "SagaRef",
    "SagaStatus",
    "Sagas",
    "StepFailed",
    "StepOutcomeUnknown",
    "StepTimeout",
    "UnknownSaga",
    "exactly_once",
    "sagas",
    "step_key",
]
