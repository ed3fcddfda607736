"""One quantised base with its adapters, and the one thread that ever touches them.

PEFT keeps the active adapter as state of the modules, so what may go wrong is a request answered with another's.
Here there is nothing to lock and nothing to race: loading, choosing the adapter and every forward pass happen on one
thread, in turns of a few tokens per chat, and the adapter is chosen anew at the start of each turn.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import safetensors.torch
import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from tunery.core.logs import get_logger
from tunery.serving.engines.adapter_download import VerifiedAdapter
from tunery.serving.engines.decoding import ChatDecoder
from tunery.serving.engines.engine import EngineBusy, ModelNotLoaded
from tunery.training.adapter_manifest import AdapterRefused
from tunery.training_workers.base_model import BaseModel, set_dropout

TURN_TOKENS: Final = 4
"""Tokens that a chat generates before it is the next one's turn: fewer changes of adapter, still even streams."""
MOST_CONCURRENT: Final = 16
"""Chats that hold a key-value cache; the others wait."""
MOST_WAITING: Final = 256

log = get_logger(__name__)


class ModelOwner:
    """Runs chats on one base. All methods may be called from any thread; the model's own is started by the first."""

    def __init__(self, name: str, base: BaseModel, *, max_adapters: int) -> None:
        self.name = name
        self.linear_shapes = _linear_shapes(base.model)
        self.weights_sha256 = base.weights_sha256
        self.end_tokens = _end_tokens(base.model)
        self._base = base
        self._model: Any = base.model
        self._peft: PeftModel | None = None
        self._layers: list[LoraLayer] = []
        self._max_adapters = max_adapters
        self._module_names = [module_name for module_name, _ in base.model.named_modules()]
        self._adapters: OrderedDict[str, None] = OrderedDict()
        self._loaded: tuple[str, ...] = ()
        self._active: str | None = None
        self._changed = threading.Condition()
        self._commands: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._running: deque[ChatDecoder] = deque()
        self._waiting: deque[ChatDecoder] = deque()
        self._closed = False
        self._broken = False
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)
        self._thread.start()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Digests of the adapters in memory."""
        return self._loaded

    def load(self, adapter: VerifiedAdapter) -> Future[None]:
        """Raises AdapterRefused when peft can't place every weight; EngineBusy when all adapters are in use."""
        return self._submit(lambda: self._load(adapter))

    def start(self, chat: ChatDecoder) -> Future[None]:
        """Admit a chat. Raises ModelNotLoaded when its adapter isn't (any more) in memory, EngineBusy."""
        return self._submit(lambda: self._admit(chat))

    def close(self) -> None:
        """End the thread; chats in progress fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _submit(self, command: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        with self._changed:
            if self._closed:
                raise EngineBusy("this node is shutting down")
            self._commands.append((command, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        with torch.no_grad():
            while self._wait_for_work():
                self._run_commands()
                while self._waiting and len(self._running) < MOST_CONCURRENT:
                    self._running.append(self._waiting.popleft())
                if self._running:
                    if self._take_turn(self._running[0]):
                        self._running.popleft()
                    else:
                        self._running.rotate(-1)
        ended = EngineBusy("this node is shutting down")
        for chat in (*self._running, *self._waiting):
            chat.emit(ended)
        for _, future in self._commands:
            future.set_exception(ended)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._commands or self._running or self._waiting)
            return not self._closed

    def _run_commands(self) -> None:
        while self._commands:
            command, future = self._commands.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                command()
            except Exception as error:  # noqa: BLE001 - carried to whoever waits
                future.set_exception(error)
            else:
                future.set_result(None)

    def _admit(self, chat: ChatDecoder) -> None:
        if self._broken:
            raise EngineBusy(f"{self.name} failed on this node")
        if chat.adapter is not None:
            if chat.adapter not in self._adapters:
                raise ModelNotLoaded(chat.adapter)
            self._adapters.move_to_end(chat.adapter)
        if len(self._waiting) >= MOST_WAITING:
            raise EngineBusy(f"{MOST_WAITING} chats wait for {self.name} on this node already")
        self._waiting.append(chat)

    def _take_turn(self, chat: ChatDecoder) -> bool:
        """Whether the chat is over."""
        try:
            if not chat.cancelled:
                self._activate(chat.adapter)
            for _ in range(TURN_TOKENS):
                if chat.cancelled or chat.step(self._model, self._base.device):
                    return True
        except Exception as error:
            log.exception("generation failed", base_model=self.name)
            chat.emit(error)
            return True
        return False

    def _activate(self, adapter: str | None) -> None:
        """Make the next forward passes use this adapter, or the base alone."""
        if adapter == self._active and not (adapter is None and self._enabled()):
            return
        for layer in self._layers:
            if adapter is not None:
                layer.set_adapter(adapter, inference_mode=True)
            layer.enable_adapters(adapter is not None)
        self._active = adapter
        wrong = any(
            layer.disable_adapters is not (adapter is None)
            or (adapter is not None and layer.active_adapters != [adapter])
            for layer in self._layers
        )
        if wrong or (adapter is not None and adapter not in self._adapters):
            raise RuntimeError(f"peft didn't switch to {adapter}")

    def _enabled(self) -> bool:
        return any(not layer.disable_adapters for layer in self._layers)

    def _load(self, adapter: VerifiedAdapter) -> None:
        name = adapter.digest
        if name in self._adapters:
            self._adapters.move_to_end(name)
            return
        weights = safetensors.torch.load(adapter.weights)
        self._check_targets(adapter.configuration["target_modules"], weights)
        self._make_room()
        config = LoraConfig(
            task_type="CAUSAL_LM",
            inference_mode=True,
            r=adapter.configuration["r"],
            lora_alpha=adapter.configuration["lora_alpha"],
            use_rslora=adapter.configuration.get("use_rslora", False),
            target_modules=sorted(adapter.configuration["target_modules"]),
        )
        try:
            self._inject(name, config)
            self._fill(name, weights)
        except Exception as error:
            self._remove(name)
            if isinstance(error, AdapterRefused):
                raise
            raise AdapterRefused(f"The adapter can't be loaded: {error}", code="WEIGHTS_INVALID") from error
        self._adapters[name] = None
        self._loaded = tuple(self._adapters)

    def _check_targets(self, targets: list[str], weights: dict[str, torch.Tensor]) -> None:
        """Refuse, while the model is still untouched, what peft would inject only in part."""
        changed = {name for name in self._module_names if any(name == t or name.endswith(f".{t}") for t in targets)}
        given = {key.removeprefix("base_model.model.").rpartition(".lora_")[0] for key in weights}
        for module in sorted(changed ^ given):
            fault = "has no weights for" if module in changed else "has weights for the untargeted"
            raise AdapterRefused(f"The adapter {fault} module {module:.200}.", code="WEIGHTS_KEYS")

    def _inject(self, name: str, config: LoraConfig) -> None:
        self._active = None
        # Weights stay unallocated until the adapter's own are put in: a module that got none can't run on random ones.
        if self._peft is None:
            self._broken = True  # until this has succeeded: a base that was changed in part must not serve
            self._peft = PeftModel(
                self._model, config, adapter_name=name, autocast_adapter_dtype=False, low_cpu_mem_usage=True
            )
            self._broken = False
        else:
            self._peft.add_adapter(name, config, low_cpu_mem_usage=True)
        set_dropout(self._peft, active=False)
        self._layers = [module for module in self._model.modules() if isinstance(module, LoraLayer)]

    def _fill(self, name: str, weights: dict[str, torch.Tensor]) -> None:
        """Put the weights in. Raises AdapterRefused unless each found its module and each module its weights."""
        if self._peft is None:
            raise RuntimeError("nothing was injected")
        wanted = {key.replace(f".{name}.", ".") for key, _ in self._peft.named_parameters() if f".{name}." in key}
        if missing := sorted(wanted - weights.keys()):
            raise AdapterRefused(f"The adapter has no weights {missing[0]}.", code="WEIGHTS_KEYS")
        if unexpected := sorted(weights.keys() - wanted):
            raise AdapterRefused(f"The base model has no place for {unexpected[0]:.200}.", code="WEIGHTS_KEYS")
        moved = {key: value.to(self._base.device, self._base.compute_dtype) for key, value in weights.items()}
        result = set_peft_model_state_dict(self._peft, moved, adapter_name=name, low_cpu_mem_usage=True)
        left = [key for key in result.missing_keys if f".{name}." in key]
        if left or result.unexpected_keys or any(p.is_meta for key, p in self._peft.named_parameters() if name in key):
            raise AdapterRefused("The adapter's weights don't match its modules.", code="WEIGHTS_KEYS")

    def _make_room(self) -> None:
        in_use = {chat.adapter for chat in (*self._running, *self._waiting) if not chat.cancelled}
        while len(self._adapters) >= self._max_adapters:
            oldest = next((name for name in self._adapters if name not in in_use), None)
            if oldest is None:
                raise EngineBusy(f"all {self._max_adapters} places for adapters of {self.name} are in use here")
            self._remove(oldest)

    def _remove(self, name: str) -> None:
        self._adapters.pop(name, None)
        self._loaded = tuple(self._adapters)
        self._active = None
        if self._peft is not None and name in self._peft.peft_config:
            if self._adapters:  # peft warns when the active one goes
                self._peft.set_adapter(next(iter(self._adapters)), inference_mode=True)
            self._peft.delete_adapter(name)


def _linear_shapes(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """(out, in) features of each linear module that an adapter may change, by name."""
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def _end_tokens(model: Any) -> frozenset[int]:
    """The tokens that end an answer, from the model's generation settings."""
    ends = model.generation_config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
