"""The classes of MONAI that a bundle may name without being trusted: each does arithmetic, or reads an image file.

Looked through by hand for MONAI 1.6, and true of no older one: there LoadImage unpickles. A test compares the table
with the MONAI that is installed, so that a class that a newer one adds, moves or doubles is looked at by a person
before it is let in. Left out on purpose: what downloads (EfficientNet, ResNetFeatures, HoVerNet, TransCheX, perceptual
losses, text embeddings), compiles or loads code (GaussianMixtureModel, TensorRT), unpickles (persistent and LMDB data
sets), writes or deletes files or calls servers (ZarrAvgMerger, SaveClassification, savers among the handlers, MLflow,
ClearML, TensorBoard), or looks up a callable by a string that it is given (TorchVision, TorchIO, CuCIM). SaveImage is
in it, for most bundles have one, and is never made: `read_config` puts a step that saves nothing in its place.
"""

_TABLE = """
data.dataloader DataLoader
data.dataset ArrayDataset CacheDataset Dataset SmartCacheDataset ZipDataset
data.grid_dataset GridPatchDataset PatchDataset PatchIter PatchIterd
data.image_reader ITKReader NibabelReader NrrdReader NumpyReader PILReader PydicomReader
data.iterable_dataset IterableDataset ShuffleBuffer
data.meta_tensor MetaTensor
data.samplers DistributedSampler DistributedWeightedRandomSampler
data.thread_buffer ThreadBuffer ThreadDataLoader
engines.evaluator EnsembleEvaluator Evaluator SupervisedEvaluator
engines.trainer AdversarialTrainer GanTrainer SupervisedTrainer Trainer
engines.utils DiffusionPrepareBatch IterationEvents PrepareBatch PrepareBatchDefault PrepareBatchExtraInput
    VPredictionPrepareBatch
engines.workflow Workflow
handlers.average_precision AveragePrecision
handlers.calibration CalibrationError
handlers.checkpoint_loader CheckpointLoader
handlers.confusion_matrix ConfusionMatrix
handlers.decollate_batch DecollateBatch
handlers.earlystop_handler EarlyStopHandler
handlers.garbage_collector GarbageCollector
handlers.hausdorff_distance HausdorffDistance
handlers.ignite_metric IgniteMetricHandler
handlers.lr_schedule_handler LrScheduleHandler
handlers.mean_dice MeanDice
handlers.mean_iou MeanIoUHandler
handlers.metric_logger MetricLogger MetricLoggerKeys
handlers.panoptic_quality PanopticQuality
handlers.parameter_scheduler ParamSchedulerHandler
handlers.postprocessing PostProcessing
handlers.regression_metrics MeanAbsoluteError MeanSquaredError PeakSignalToNoiseRatio RootMeanSquaredError
handlers.roc_auc ROCAUC
handlers.stats_handler StatsHandler
handlers.surface_distance SurfaceDistance
handlers.validation_handler ValidationHandler
inferers.inferer ControlNetDiffusionInferer ControlNetLatentDiffusionInferer DiffusionInferer Inferer
    LatentDiffusionInferer PatchInferer SaliencyInferer SimpleInferer SliceInferer SlidingWindowInferer
    SlidingWindowInfererAdapt VQVAETransformerInferer
inferers.merger AvgMerger Merger
inferers.splitter SlidingWindowSplitter Splitter
losses.adversarial_loss AdversarialCriterions PatchAdversarialLoss
losses.aucm_loss AUCMLoss
losses.barlow_twins BarlowTwinsLoss
losses.boundary_loss BoundaryLoss
losses.cldice SoftDiceclDiceLoss SoftclDiceLoss
losses.contrastive ContrastiveLoss
losses.deform BendingEnergyLoss DiffusionLoss
losses.dice Dice DiceCELoss DiceFocalLoss DiceLoss GeneralizedDiceFocalLoss GeneralizedDiceLoss
    GeneralizedWassersteinDiceLoss MaskedDiceLoss
losses.ds_loss DeepSupervisionLoss
losses.focal_loss FocalLoss
losses.giou_loss BoxGIoULoss
losses.hausdorff_loss HausdorffDTLoss LogHausdorffDTLoss
losses.image_dissimilarity GlobalMutualInformationLoss LocalNormalizedCrossCorrelationLoss
losses.mcc_loss MCCLoss
losses.multi_scale MultiScaleLoss
losses.nacl_loss NACLLoss
losses.spatial_mask MaskedLoss
losses.spectral_loss JukeboxLoss
losses.ssim_loss SSIMLoss
losses.sure_loss SURELoss
losses.tversky TverskyLoss
losses.unified_focal_loss AsymmetricFocalLoss AsymmetricFocalTverskyLoss AsymmetricUnifiedFocalLoss
metrics.absolute_volume_difference AbsoluteVolumeDifferenceMetric
metrics.active_learning_metrics LabelQualityScore VarianceMetric
metrics.average_precision AveragePrecisionMetric
metrics.calibration CalibrationErrorMetric CalibrationReduction
metrics.confusion_matrix ConfusionMatrixMetric
metrics.cumulative_average CumulativeAverage
metrics.embedding_collapse EmbeddingCollapseMetric
metrics.f_beta_score FBetaScore
metrics.fid FIDMetric
metrics.generalized_dice GeneralizedDiceScore
metrics.hausdorff_distance HausdorffDistanceMetric
metrics.loss_metric LossMetric
metrics.meandice DiceHelper DiceMetric
metrics.meaniou MeanIoU
metrics.metric Cumulative CumulativeIterationMetric IterationMetric Metric
metrics.mmd MMDMetric
metrics.panoptic_quality PanopticQualityMetric
metrics.regression KernelType MAEMetric MAPEMetric MSEMetric MultiScaleSSIMMetric PSNRMetric RMSEMetric
    RegressionMetric SSIMMetric
metrics.rocauc ROCAUCMetric
metrics.surface_dice SurfaceDiceMetric
metrics.surface_distance SurfaceDistanceMetric
metrics.wrapper MetricsReloadedBinary MetricsReloadedCategorical MetricsReloadedWrapper
networks.blocks.acti_norm ADN
networks.blocks.activation GEGLU MemoryEfficientSwish Mish Swish SwishImplementation
networks.blocks.activation_checkpointing ActivationCheckpointWrapper
networks.blocks.aspp SimpleASPP
networks.blocks.backbone_fpn_utils BackboneWithFPN
networks.blocks.cablock CABlock FeedForward
networks.blocks.convolutions Convolution ResidualUnit
networks.blocks.crf CRF
networks.blocks.crossattention CrossAttentionBlock
networks.blocks.denseblock ConvDenseBlock DenseBlock
networks.blocks.dints_block ActiConvNormBlock FactorizedIncreaseBlock FactorizedReduceBlock P3DActiConvNormBlock
networks.blocks.downsample DownSample Downsample MaxAvgPool SubpixelDownSample SubpixelDownsample Subpixeldownsample
networks.blocks.dynunet_block UnetBasicBlock UnetOutBlock UnetResBlock UnetUpBlock
networks.blocks.encoder BaseEncoder
networks.blocks.feature_pyramid_network ExtraFPNBlock FeaturePyramidNetwork LastLevelMaxPool LastLevelP6P7
networks.blocks.localnet_block LocalNetDownSampleBlock LocalNetFeatureExtractorBlock LocalNetResidualBlock
    LocalNetUpSampleBlock ResidualBlock
networks.blocks.mednext_block MedNeXtBlock MedNeXtDownBlock MedNeXtOutBlock MedNeXtUpBlock
networks.blocks.mlp MLPBlock
networks.blocks.patchembedding PatchEmbed PatchEmbeddingBlock
networks.blocks.regunet_block RegistrationDownSampleBlock RegistrationExtractionBlock RegistrationResidualConvBlock
networks.blocks.rel_pos_embedding DecomposedRelativePosEmbedding
networks.blocks.segresnet_block ResBlock
networks.blocks.selfattention SABlock
networks.blocks.spade_norm SPADE
networks.blocks.spatialattention SpatialAttentionBlock
networks.blocks.squeeze_and_excitation ChannelSELayer ResidualSELayer SEBlock SEBottleneck SEResNeXtBottleneck
    SEResNetBottleneck
networks.blocks.transformerblock TransformerBlock
networks.blocks.unetr_block UnetrBasicBlock UnetrPrUpBlock UnetrUpBlock
networks.blocks.upsample SubpixelUpSample SubpixelUpsample Subpixelupsample UpSample Upsample
networks.blocks.warp DVF2DDF Warp
networks.layers.conjugate_gradient ConjugateGradient
networks.layers.drop_path DropPath
networks.layers.filtering BilateralFilter PHLFilter TrainableBilateralFilter TrainableBilateralFilterFunction
    TrainableJointBilateralFilter TrainableJointBilateralFilterFunction
networks.layers.simplelayers ApplyFilter ChannelPad EllipticalFilter Flatten GaussianFilter HilbertTransform
    LaplaceFilter MeanFilter MedianFilter Reshape SavitzkyGolayFilter SharpenFilter SkipConnection
networks.layers.spatial_transforms AffineTransform
networks.layers.vector_quantizer EMAQuantizer VectorQuantizer
networks.nets.ahnet AHNet AHnet Ahnet Bottleneck3x3x1 DenseBlock Final PSP Projection Pseudo3DLayer UpTransition
networks.nets.attentionunet AttentionBlock AttentionLayer AttentionUnet ConvBlock UpConv
networks.nets.autoencoder AutoEncoder
networks.nets.autoencoderkl AEKLDownsample AEKLResBlock AsymmetricPad AutoencoderKL Decoder Encoder
networks.nets.basic_unet BasicUNet BasicUnet Basicunet Down TwoConv UpCat
networks.nets.basic_unetplusplus BasicUNetPlusPlus BasicUnetPlusPlus BasicunetPlusPlus
networks.nets.classifier Classifier Critic Discriminator
networks.nets.controlnet ControlNet ControlNetConditioningEmbedding
networks.nets.daf3d AttentionModule DAF3D Daf3dASPP Daf3dBackbone Daf3dBackboneWithFPN Daf3dFPN Daf3dResNet
    Daf3dResNetBottleneck Daf3dResNetDilatedBottleneck
networks.nets.densenet DenseNet DenseNet121 DenseNet169 DenseNet201 DenseNet264 Densenet Densenet121 Densenet169
    Densenet201 Densenet264
networks.nets.diffusion_model_unet AttnDownBlock AttnMidBlock AttnUpBlock CrossAttnDownBlock CrossAttnMidBlock
    CrossAttnUpBlock DiffusionModelEncoder DiffusionModelUNet DiffusionUNetResnetBlock DiffusionUNetTransformerBlock
    DiffusionUnetDownsample DownBlock SpatialTransformer UpBlock WrappedUpsample
networks.nets.dints Cell CellInterface DiNTS MixedOp StemInterface StemTS TopologyConstruction TopologyInstance
    TopologySearch
networks.nets.dynunet DynUNet DynUNetSkipLayer DynUnet Dynunet
networks.nets.flexible_unet FlexUNet FlexibleUNet SegmentationHead UNetDecoder
networks.nets.fullyconnectednet FullyConnectedNet VarFullyConnectedNet
networks.nets.generator Generator
networks.nets.highresnet HighResBlock HighResNet
networks.nets.masked_autoencoder_vit MaskedAutoEncoderViT
networks.nets.mednext MedNeXt MedNext
networks.nets.navit NaViT
networks.nets.patchgan_discriminator MultiScalePatchDiscriminator PatchDiscriminator
networks.nets.quicknat Bottleneck ClassifierBlock ConvConcatDenseBlock Decoder Encoder Quicknat SequentialWithIdx
    SkipConnectionWithIdx
networks.nets.regressor Regressor
networks.nets.regunet AdditiveUpSampleBlock AffineHead GlobalNet LocalNet RegUNet
networks.nets.resnet ResNet ResNetBlock ResNetBottleneck
networks.nets.restormer MDTATransformerBlock OverlapPatchEmbed Restormer
networks.nets.segresnet SegResNet SegResNetVAE
networks.nets.segresnet_ds SegResBlock SegResEncoder SegResNetDS SegResNetDS2
networks.nets.senet SENet SENet154 SEResNeXt101 SEResNeXt50 SEResNet101 SEResNet152 SEResNet50 SEResNext101
    SEResNext50 SEnet SEnet154 SEresnet101 SEresnet152 SEresnet50 SEresnext101 SEresnext50 Senet Senet154 Seresnet101
    Seresnet152 Seresnet50 Seresnext101 Seresnext50
networks.nets.spade_autoencoderkl SPADEAutoencoderKL SPADEDecoder SPADEResBlock
networks.nets.spade_diffusion_model_unet SPADEAttnUpBlock SPADECrossAttnUpBlock SPADEDiffResBlock
    SPADEDiffusionModelUNet SPADEUpBlock
networks.nets.spade_network SPADEDecoder SPADEEncoder SPADENet SPADENetResBlock UpsamplingModes
networks.nets.swin_unetr BasicLayer PatchMerging PatchMergingV2 SwinTransformer SwinTransformerBlock SwinUNETR
    WindowAttention
networks.nets.transformer AbsolutePositionalEmbedding DecoderOnlyTransformer
networks.nets.unet CheckpointUNet UNet Unet
networks.nets.unetr UNETR
networks.nets.varautoencoder VarAutoEncoder
networks.nets.vista3d Attention ClassMappingClassify MLP PointMappingSAM PositionEmbeddingRandom TwoWayAttentionBlock
    TwoWayTransformer VISTA3D
networks.nets.vit ViT
networks.nets.vitautoenc ViTAutoEnc
networks.nets.vnet DownTransition InputTransition LUConv OutputTransition UpTransition VNet
networks.nets.voxelmorph VoxelMorph VoxelMorphUNet
networks.nets.vqvae Decoder Encoder VQVAE VQVAEResidualUnit
networks.schedulers.ddim DDIMScheduler
networks.schedulers.ddpm DDPMPredictionType DDPMScheduler DDPMVarianceType
networks.schedulers.pndm PNDMPredictionType PNDMScheduler
networks.schedulers.rectified_flow RFlowPredictionType RFlowScheduler
networks.schedulers.scheduler Scheduler
optimizers.lr_scheduler ExponentialLR LinearLR WarmupCosineSchedule
optimizers.novograd Novograd
transforms.compose Compose OneOf RandomOrder SomeOf
transforms.croppad.array BorderPad BoundingRect CenterScaleCrop CenterSpatialCrop Crop CropForeground DivisiblePad Pad
    RandCropByLabelClasses RandCropByPosNegLabel RandScaleCrop RandSpatialCrop RandSpatialCropSamples RandWeightedCrop
    ResizeWithPadOrCrop SpatialCrop SpatialPad
transforms.croppad.batch PadListDataCollate
transforms.croppad.dictionary BorderPadd BoundingRectd CenterScaleCropd CenterSpatialCropd CropForegroundd Cropd
    DivisiblePadd Padd RandCropByLabelClassesd RandCropByPosNegLabeld RandCropd RandScaleCropd RandSpatialCropSamplesd
    RandSpatialCropd RandWeightedCropd ResizeWithPadOrCropd SpatialCropd SpatialPadd
transforms.intensity.array AdjustContrast ClipIntensityPercentiles ComputeHoVerMaps DetectEnvelope ForegroundMask
    GaussianSharpen GaussianSmooth GibbsNoise HistogramNormalize IntensityRemap KSpaceSpikeNoise MaskIntensity
    MedianSmooth NormalizeIntensity RandAdjustContrast RandBiasField RandCoarseDropout RandCoarseShuffle
    RandCoarseTransform RandGaussianNoise RandGaussianSharpen RandGaussianSmooth RandGibbsNoise RandHistogramShift
    RandIntensityRemap RandKSpaceSpikeNoise RandRicianNoise RandScaleIntensity RandScaleIntensityFixedMean
    RandShiftIntensity RandStdShiftIntensity SavitzkyGolaySmooth ScaleIntensity ScaleIntensityFixedMean
    ScaleIntensityRange ScaleIntensityRangePercentiles ShiftIntensity StdShiftIntensity ThresholdIntensity
    UltrasoundConfidenceMapTransform
transforms.intensity.dictionary AdjustContrastd ClipIntensityPercentilesd ComputeHoVerMapsd ForegroundMaskd
    GaussianSharpend GaussianSmoothd GibbsNoised HistogramNormalized KSpaceSpikeNoised MaskIntensityd MedianSmoothd
    NormalizeIntensityd RandAdjustContrastd RandBiasFieldd RandCoarseDropoutd RandCoarseShuffled RandGaussianNoised
    RandGaussianSharpend RandGaussianSmoothd RandGibbsNoised RandHistogramShiftd RandKSpaceSpikeNoised
    RandRicianNoised RandScaleIntensityFixedMeand RandScaleIntensityd RandShiftIntensityd RandStdShiftIntensityd
    SavitzkyGolaySmoothd ScaleIntensityRangePercentilesd ScaleIntensityRanged ScaleIntensityd ShiftIntensityd
    StdShiftIntensityd ThresholdIntensityd
transforms.inverse_batch_transform BatchInverseTransform DecollateD DecollateDict Decollated
transforms.io.array LoadImage SaveImage
transforms.io.dictionary LoadImaged SaveImaged
transforms.lazy.array ApplyPending
transforms.lazy.dictionary ApplyPendingd
transforms.lazy.utils Affine DisplacementField
transforms.meta_utility.dictionary FromMetaTensord ToMetaTensord
transforms.post.array Activations AsDiscrete DistanceTransformEDT Ensemble FillHoles GenerateHeatmap Invert
    KeepLargestConnectedComponent LabelFilter LabelToContour MeanEnsemble ProbNMS RemoveSmallObjects SobelGradients
    VoteEnsemble
transforms.post.dictionary Activationsd AsDiscreted DistanceTransformEDTd Ensembled FillHolesd GenerateHeatmapd
    Invertd KeepLargestConnectedComponentd LabelFilterd LabelToContourd MeanEnsembled ProbNMSd RemoveSmallObjectsd
    SobelGradientsd VoteEnsembled
transforms.regularization.array CutMix CutOut MixUp Mixer
transforms.regularization.dictionary CutMixd CutOutd MixUpd
transforms.signal.array SignalContinuousWavelet SignalFillEmpty SignalRandAddGaussianNoise SignalRandAddSine
    SignalRandAddSinePartial SignalRandAddSquarePulse SignalRandAddSquarePulsePartial SignalRandDrop SignalRandScale
    SignalRandShift SignalRemoveFrequency
transforms.signal.dictionary SignalFillEmptyd
transforms.smooth_field.array RandSmoothDeform RandSmoothFieldAdjustContrast RandSmoothFieldAdjustIntensity
    SmoothField
transforms.smooth_field.dictionary RandSmoothDeformd RandSmoothFieldAdjustContrastd RandSmoothFieldAdjustIntensityd
transforms.spatial.array Affine AffineGrid ConvertBoxToPoints ConvertPointsToBoxes Flip GridDistortion GridPatch
    GridSplit Orientation Rand2DElastic Rand3DElastic RandAffine RandAffineGrid RandAxisFlip RandDeformGrid RandFlip
    RandGridDistortion RandGridPatch RandRotate RandRotate90 RandSimulateLowResolution RandZoom Resample
    ResampleToMatch Resize Rotate Rotate90 Spacing SpatialResample Zoom
transforms.spatial.dictionary Affined ConvertBoxToPointsd ConvertPointsToBoxesd Flipd GridDistortiond GridPatchd
    GridSplitd Orientationd Rand2DElasticd Rand3DElasticd RandAffined RandAxisFlipd RandFlipd RandGridDistortiond
    RandGridPatchd RandRotate90d RandRotated RandSimulateLowResolutiond RandZoomd ResampleToMatchd Resized Rotate90d
    Rotated Spacingd SpatialResampled Zoomd
transforms.traits InvertibleTrait LazyTrait MultiSampleTrait RandomizableTrait ReduceTrait ThreadUnsafe
transforms.transform LazyTransform MapTransform Randomizable RandomizableTransform Transform
transforms.utility.array AddCoordinateChannels AddExtremePointsChannel ApplyTransformToPoints AsChannelLast CastToType
    ClassesToIndices ConvertToMultiChannelBasedOnBratsClasses DataStats EnsureChannelFirst EnsureType FgBgToIndices
    FlattenSequence Identity ImageFilter IntensityStats LabelToMask Lambda MapLabelValue RandIdentity RandImageFilter
    RandLambda RemoveRepeatedChannel RepeatChannel SimulateDelay SplitDim SqueezeDim ToCupy ToDevice ToNumpy ToPIL
    ToTensor Transpose
transforms.utility.dictionary AddCoordinateChannelsd AddExtremePointsChanneld ApplyTransformToPointsd AsChannelLastd
    CastToTyped ClassesToIndicesd ConcatItemsd ConvertToMultiChannelBasedOnBratsClassesd CopyItemsd DataStatsd
    DeleteItemsd EnsureChannelFirstd EnsureTyped FgBgToIndicesd FlattenSequenced FlattenSubKeysd Identityd
    ImageFilterd IntensityStatsd LabelToMaskd Lambdad MapLabelValued RandImageFilterd RandLambdad
    RemoveRepeatedChanneld RepeatChanneld SelectItemsd SimulateDelayd SplitDimd SqueezeDimd ToCupyd ToDeviced ToNumpyd
    ToPILd ToTensord TransformPointsImageToWorldd TransformPointsWorldToImaged Transposed
"""


def _parsed() -> dict[str, tuple[str, ...]]:
    modules: dict[str, tuple[str, ...]] = {}
    module = ""
    for line in _TABLE.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            module = f"monai.{words.pop(0)}"
        modules[module] = (*modules.get(module, ()), *words)
    return {module: tuple(_with_aliases(module, names)) for module, names in modules.items()}


def _with_aliases(module: str, names: tuple[str, ...]) -> list[str]:
    """MONAI gives every dictionary transform three names: Spacingd, SpacingD, SpacingDict."""
    aliases = []
    if module.endswith(".dictionary"):
        aliases = [f"{name[:-1]}{end}" for name in names if name.endswith("d") for end in ("D", "Dict")]
    return [*names, *aliases]


COMPONENTS = _parsed()
"""Defining module -> names of its classes."""

NAMES = frozenset(name for names in COMPONENTS.values() for name in names)
"""Bare names: MONAI finds the module itself."""

PATHS = frozenset(
    f"{'.'.join(module.split('.')[:depth])}.{name}"
    for module, names in COMPONENTS.items()
    for depth in range(2, module.count(".") + 2)
    for name in names
)
"""Dotted paths: of the defining module, and of the packages above it, which give most of them, too."""
