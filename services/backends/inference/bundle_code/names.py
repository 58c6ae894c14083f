"""The other names that a bundle may use without being trusted: functions, attributes, modules (docs/models.md).

Whatever is not here is refused. Nothing here runs code that it is given as text or pickle, starts a process, opens a
connection, or writes or deletes a file; SaveImage is never made (`components`).
"""

import re

from services.backends.inference.bundle_code.components import PATHS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS = _words(
    "abs all any bool dict divmod enumerate filter float frozenset int isinstance len list map max min pow range "
    "reversed round set slice sorted str sum tuple zip"
)

GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
"""What MONAI's parser gives every expression."""

IMPORTS = _words(
    "functools glob ignite ignite.metrics itertools math monai monai.data monai.engines monai.handlers monai.inferers "
    "monai.losses monai.metrics monai.networks monai.networks.blocks monai.networks.layers monai.networks.nets "
    "monai.networks.utils monai.optimizers monai.transforms monai.utils numpy os os.path pandas time torch "
    "torch.nn torch.nn.functional torch.optim"
)
"""Modules that may be imported. What of them may be used is another matter."""


def _of(module: str, names: str) -> set[str]:
    return {f"{module}.{name}" for name in names.split()}


FUNCTIONS = frozenset(
    _of("functools", "partial reduce")
    | _of("glob", "glob iglob")
    | _of("itertools", "chain chain.from_iterable product repeat")
    | _of("math", "ceil e exp floor inf isnan log log2 nan pi prod sqrt")
    | _of("os", "cpu_count getcwd listdir path.abspath path.basename path.commonpath path.dirname path.exists "
          "path.isdir path.isfile path.join path.normpath path.realpath path.relpath path.sep path.splitext sep")
    | _of("time", "sleep strftime time")
    | _of("numpy", "abs all any arange argmax argmin array array_equal asarray astype bool_ ceil clip concatenate "
          "count_nonzero cumsum deg2rad diag diff dot exp expand_dims eye float16 float32 float64 floor full inf "
          "int16 int32 int64 int8 isin isnan linspace log logical_and logical_not logical_or max maximum mean median "
          "min minimum moveaxis nan ndarray newaxis nonzero ones ones_like pad percentile pi prod quantile repeat "
          "reshape round sort sqrt squeeze stack std sum swapaxes take tile transpose uint16 uint32 uint64 uint8 "
          "unique var where zeros zeros_like")
    | _of("torch", "Size Tensor abs all amax amin any arange argmax argmin argsort as_tensor atan2 bfloat16 bool cat "
          "ceil chunk clamp clip complex64 concat cos count_nonzero cuda.current_device cuda.device_count "
          "cuda.is_available cumsum device diag diff div dot double einsum empty eq exp eye finfo flatten flip float "
          "float16 float32 float64 floor from_numpy full full_like gather ge get_num_threads gt half histc iinfo int "
          "int16 int32 int64 int8 isfinite isin isinf isnan kthvalue le linalg.norm linspace log log2 log10 "
          "logical_and logical_not logical_or logsumexp long lt manual_seed masked_select matmul max maximum mean "
          "median meshgrid min minimum movedim mul ne nn.functional.adaptive_avg_pool3d nn.functional.avg_pool3d "
          "nn.functional.conv2d nn.functional.conv3d nn.functional.dropout nn.functional.elu nn.functional.gelu "
          "nn.functional.grid_sample nn.functional.interpolate nn.functional.layer_norm nn.functional.leaky_relu "
          "nn.functional.log_softmax nn.functional.max_pool2d nn.functional.max_pool3d nn.functional.normalize "
          "nn.functional.one_hot nn.functional.pad nn.functional.relu nn.functional.sigmoid nn.functional.silu "
          "nn.functional.softmax nn.functional.softplus nonzero norm numel ones ones_like permute pow prod quantile "
          "rand rand_like randint randn randperm relu reshape roll round rsqrt scatter sigmoid sign sin softmax sort "
          "split sqrt squeeze stack std strided sub sum swapaxes take tanh tensor tile topk transpose tril triu "
          "uint8 unbind unique unsqueeze var vstack where zeros zeros_like")
    | _of("monai", "__version__ data.decollate_batch data.list_data_collate data.load_decathlon_datalist "
          "data.pad_list_data_collate data.partition_dataset "
          "data.utils.decollate_batch data.utils.list_data_collate data.utils.no_collation "
          "data.utils.pad_list_data_collate engines.default_make_latent engines.default_metric_cmp_fn "
          "engines.default_prepare_batch engines.utils.default_prepare_batch "
          "handlers.from_engine handlers.stopping_fn_from_loss handlers.stopping_fn_from_metric "
          "handlers.utils.from_engine inferers.sliding_window_inference networks.eval_mode "
          "networks.layers.Act networks.layers.Conv networks.layers.Dropout networks.layers.Norm "
          "networks.layers.Pool networks.normal_init networks.one_hot networks.utils.normal_init "
          "networks.utils.one_hot networks.utils.predict_segmentation transforms.utils.allow_missing_keys_mode "
          "utils.ensure_tuple utils.ensure_tuple_rep utils.ensure_tuple_size utils.fall_back_tuple "
          "utils.first utils.misc.ensure_tuple utils.set_determinism")
    | PATHS
)  # fmt: skip
"""Dotted names. MONAI's classes are in `components`."""

ENUMS = frozenset(
    _of("monai.utils", "Average BlendMode ChannelMatching CommonKeys DiceCEReduction GridSampleMode "
        "GridSamplePadMode InterpolateMode LossReduction Method MetricReduction NumpyPadMode PytorchPadMode "
        "SkipMode TraceKeys UpsampleMode Weight")
    | _of("monai.utils.enums", "CommonKeys BlendMode MetricReduction")
)  # fmt: skip
"""Their members, in capitals, may be used, too."""

ENUM_MEMBER = re.compile(r"[A-Z][A-Z0-9_]*")

FAMILIES = re.compile(r"(torch\.nn|torch\.optim|ignite\.metrics)\.(?!FID|InceptionScore)[A-Z][A-Za-z0-9]*")
"""Packages whose every class may be used, but for two that download weights."""

ATTRIBUTES = _words(
    # of text, lists and dictionaries
    "append capitalize copy count endswith extend get index insert items join keys lower lstrip name parent pop "
    "removeprefix removesuffix replace rsplit rstrip sort split splitlines startswith stem strip suffix suffixes "
    "upper update values zfill "
    # of tensors and arrays
    "T abs all amax amin any argmax argmin argsort astype bool ceil chunk clamp clip clone contiguous cpu cuda cumsum "
    "data detach device diff dim double dtype exp expand flatten flip float floor half int is_cuda item log long "
    "max mean meta min moveaxis mul ndim nonzero norm numel numpy ones permute prod quantile ravel repeat reshape "
    "round shape sigmoid size softmax squeeze std sub sum swapaxes to tolist transpose unique unsqueeze var view "
    "affine array pixdim as_tensor "
    # of networks
    "children eval forward half in_channels load_state_dict modules named_parameters out_channels parameters "
    "register_forward_hook requires_grad requires_grad_ state_dict train zero_grad "
    # of engines, inferers, transforms and data sets
    "batch compute epoch inferer iteration metrics network output roi_size run state transforms "
    # columns of tables
    "adc flair image label path t1 t1c t2"
)
"""Attributes of whatever object; none of them writes, loads, or leads to a module."""

READERS = frozenset({"NibabelReader", "ITKReader", "PydicomReader", "NrrdReader", "PILReader"})
READERS |= {f"monai.data.{name}" for name in READERS} | {name.lower() for name in READERS}

ARGUMENTS: dict[str, frozenset[object]] = {
    "reader": frozenset({None, *READERS}),
    "writer": frozenset({None, "NibabelWriter", "monai.data.NibabelWriter", "ITKWriter", "monai.data.ITKWriter"}),
    "merger_cls": frozenset({"AvgMerger", "monai.inferers.AvgMerger", "monai.inferers.merger.AvgMerger"}),
    "weights_only": frozenset({True}),
    "allow_pickle": frozenset({False}),
    "pickle_module": frozenset(),
    "mmap_mode": frozenset({None}),
    "compile": frozenset({False}),
    "pretrained": frozenset({None, False}),
    "pretrained_url": frozenset({None}),
    "_debug_": frozenset(),
}
"""Arguments by which a harmless class would look up a callable, unpickle, download, compile, or open an array to write
it: as these literals only."""

_TARGETS_ONLY = re.compile(
    "loadimage|saveimage|numpyreader|patchinferer|supervised|se(res)?ne|densenet|resnet|flex|ahnet", re.IGNORECASE
)


def is_target_only(dotted: str) -> bool:
    """Whether a class takes one of these arguments by its place, too, or saves: expressions may not use it."""
    return _TARGETS_ONLY.match(dotted.rpartition(".")[2]) is not None


def is_allowed(dotted: str) -> bool:
    """Whether a dotted name may be used."""
    return dotted in FUNCTIONS or dotted in ENUMS or FAMILIES.fullmatch(dotted) is not None
