"""The rows of the store's benchmark about streams held whole, in memory or on an accelerator."""

import torch
from store_common import BACKENDS, STREAM, Row, Setting, ratio, rounds
from store_reads import BATCH

from cache import FeatureStore
from slt_pipeline.corpora.device_features import DeviceFeatures


def resident(setting: Setting) -> list[Row]:
    """Padded batches of a stream that is held whole, against reading them from files in the page cache."""
    wanted, shown = setting.batches([*setting.places], BATCH), []
    for backend in BACKENDS:
        path = setting.stores[backend]
        files, held = FeatureStore.open(path), FeatureStore.open(path, resident="yes")
        ways = {"files": (files, "cpu"), "memory": (held, "cpu")}
        if torch.cuda.is_available():
            on_device = DeviceFeatures(files, STREAM, torch.device("cuda"))
            ways |= {"files, copied": (files, "cuda"), "device": (on_device, "cuda")}
        runs = {
            name: lambda batches, store=store, device=device: _batches(store, device, batches)
            for name, (store, device) in ways.items()
        }
        if len({run(wanted) for run in runs.values()}) > 1:
            raise SystemExit(f"{backend}: the ways to read do not give the same numbers")
        times = rounds({name: (run, wanted) for name, run in runs.items()}, setting.repeats)
        for ours, baseline in (("memory", "files"), ("device", "files, copied")):
            if ours in ways:
                value, note = ratio(times[ours], times[baseline])
                cells = (f"{len(wanted) / times[name].best:,.0f}/s" for name in (ours, baseline))
                where = torch.cuda.get_device_name() if ours == "device" else "memory"
                case = f"batches of {BATCH}, held in {where}, {backend} / {baseline}"
                shown.append(Row(case, *cells, value, note=note))
    return shown


def _batches(store: FeatureStore | DeviceFeatures, device: str, wanted: list[list[str]]) -> float:
    """Read the batches to a device, wait for it, and return the largest number of the last one."""
    features = torch.zeros(1)
    for clip_ids in wanted:
        features = torch.as_tensor(_features(store, clip_ids)).to(device)
    return float(features.abs().max())


def _features(store: FeatureStore | DeviceFeatures, clip_ids: list[str]) -> object:
    return store.read_batch(clip_ids)[0] if isinstance(store, DeviceFeatures) else store.read_batch(clip_ids, STREAM)[0]
