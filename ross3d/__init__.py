"""ross3d: teach a multimodal language model 3-D by letting it reconstruct what it sees.

Posed RGB-D **frames** become **visual tokens**; some **views** are **masked**; the language model
turns the tokens into **hidden states**; a **pretext task** names the **targets**; a **tokenizer**
turns targets into **latents**; a **denoiser** recovers the latents under a **condition** pooled
from the hidden states.

Shapes, everywhere: ``b`` scenes, ``m`` views per scene, ``p`` patch tokens per view, ``t`` sequence
length, ``d`` width, ``k`` targets per scene, ``c h w`` latent channels and size, ``g = h*w`` latent
cells, ``o`` objects, ``s`` pixels of a square picture.

Conventions, everywhere:

- cameras are OpenCV's (x right, y down, z forward); ``poses`` are camera-to-world 4x4; world z is
  up; metres;
- depth is z along the optical axis in metres, 0 = unknown;
- intrinsics are 3x3, in pixels of *these* images; pixel centres lie at integers, so resizing by s
  moves a coordinate to ``(c + 0.5) * s - 0.5``;
- images are RGB in [0, 1]; boxes are axis-aligned ``(x, y, z, dx, dy, dz)``, centre and full size;
- booleans are named after what True means: ``masked`` = hidden from the language model (the paper's
  M is the complement), ``valid`` = depth is known, ``observed`` = seen from some view.
"""

from ross3d.core.attention import attention
from ross3d.core.cached_tokenizer import CachedTokenizer
from ross3d.core.card import ModelCard
from ross3d.core.config import from_config, to_config
from ross3d.core.dct import DCTTokenizer
from ross3d.core.diffusion import DDPMLoss, add_noise, alphas_cumprod
from ross3d.core.dit import ConditionedDiT
from ross3d.core.embedding import grid_sincos, sincos, sincos_points
from ross3d.core.extras import require
from ross3d.core.features import FeatureTokenizer
from ross3d.core.flow import FlowMatchingLoss
from ross3d.core.fusion import CrossAttentionFusion
from ross3d.core.latent_cache import LatentCache
from ross3d.core.objective import Denoiser, Objective
from ross3d.core.pooler import QueryPooler
from ross3d.core.pretrained import Pretrained, pretrained_folder
from ross3d.core.regression import RegressionLoss
from ross3d.core.sampling import sample
from ross3d.core.shapes import check_shape
from ross3d.core.tokenizer import PixelTokenizer, StagedTokenizer, Tokenizer
from ross3d.core.tokens import gather_tokens, join_tokens, scatter_tokens, token_positions
from ross3d.core.vae import VAETokenizer
from ross3d.core.weights import load_tensors, load_weights, save_tensors
from ross3d.geometry.bev import BEV, BEVRenderer, bev_to_world, cell_coords, world_to_bev
from ross3d.geometry.boxes import box_corners, box_iou, points_in_boxes
from ross3d.geometry.camera import (
    camera_rays,
    crop_intrinsics,
    project,
    scale_intrinsics,
    unproject,
)
from ross3d.geometry.coverage import greedy_cover, max_coverage_frames, view_voxels
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.mesh import Mesh, read_mesh
from ross3d.geometry.mesh_bev import MeshBEVRenderer
from ross3d.geometry.overlap import view_overlap
from ross3d.geometry.patches import depth_patch_coords, patch_coords, patch_points, patch_rays
from ross3d.geometry.position import PositionAwareEncoder, discretise
from ross3d.geometry.rays import RayAwareEncoder
from ross3d.geometry.rotary import rotary_positions
from ross3d.geometry.sampling import uniform_frames
from ross3d.geometry.tsdf import fuse_mesh
from ross3d.geometry.voxels import Voxels, voxel_pool
from ross3d.heads.grounding import GroundingHead, grounding_loss
from ross3d.heads.objects import pool_objects
from ross3d.heads.selection import select_boxes
from ross3d.pretext.conditioner import Conditioner
from ross3d.pretext.masking import ViewMasker, sample_overlap_mask, sample_view_mask
from ross3d.pretext.reconstruction import Reconstruction, ReconstructionLoss
from ross3d.pretext.schedule import Schedule
from ross3d.pretext.targets import PretextTask, Targets, select_views
from ross3d.pretext.tasks import CrossViewTask, DepthTask, GlobalViewTask, VanillaTask

__version__ = "0.1.0"

__all__ = [
    "BEV",
    "BEVRenderer",
    "CachedTokenizer",
    "ConditionedDiT",
    "Conditioner",
    "CrossAttentionFusion",
    "CrossViewTask",
    "DCTTokenizer",
    "DDPMLoss",
    "Denoiser",
    "DepthTask",
    "FeatureTokenizer",
    "FlowMatchingLoss",
    "GlobalViewTask",
    "GroundingHead",
    "LatentCache",
    "Mesh",
    "MeshBEVRenderer",
    "ModelCard",
    "Objective",
    "PixelTokenizer",
    "PosedFrames",
    "PositionAwareEncoder",
    "PretextTask",
    "Pretrained",
    "QueryPooler",
    "RayAwareEncoder",
    "Reconstruction",
    "ReconstructionLoss",
    "RegressionLoss",
    "Schedule",
    "StagedTokenizer",
    "Targets",
    "Tokenizer",
    "VAETokenizer",
    "VanillaTask",
    "ViewMasker",
    "Voxels",
    "add_noise",
    "alphas_cumprod",
    "attention",
    "bev_to_world",
    "box_corners",
    "box_iou",
    "camera_rays",
    "cell_coords",
    "check_shape",
    "crop_intrinsics",
    "depth_patch_coords",
    "discretise",
    "from_config",
    "fuse_mesh",
    "gather_tokens",
    "greedy_cover",
    "grid_sincos",
    "grounding_loss",
    "join_tokens",
    "load_tensors",
    "load_weights",
    "max_coverage_frames",
    "patch_coords",
    "patch_points",
    "patch_rays",
    "points_in_boxes",
    "pool_objects",
    "pretrained_folder",
    "project",
    "read_mesh",
    "require",
    "rotary_positions",
    "sample",
    "sample_overlap_mask",
    "sample_view_mask",
    "save_tensors",
    "scale_intrinsics",
    "scatter_tokens",
    "select_boxes",
    "select_views",
    "sincos",
    "sincos_points",
    "to_config",
    "token_positions",
    "uniform_frames",
    "unproject",
    "view_overlap",
    "view_voxels",
    "voxel_pool",
    "world_to_bev",
]
