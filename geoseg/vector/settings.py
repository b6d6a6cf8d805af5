"""The settings of vectorizing: sizes on the ground, with floors in pixels for coarse imagery."""

from pydantic import ConfigDict, Field

from geoseg.legend import Rule
from geoseg.strict import Strict


class _Settings(Strict):
    model_config = ConfigDict(strict=True)


class RuleSettings(_Settings):
    """How the polygons of one geometry rule are filtered."""

    min_area_m2: float = Field(default=20.0, ge=0, description="Polygons smaller than this on the ground are dropped.")
    min_hole_m2: float = Field(
        default=10.0, ge=0, description="Holes smaller than this are filled, unless a feature lies in them."
    )
    min_area_px: int = Field(default=4, ge=0, description="The same in pixels: what counts where pixels are large.")
    min_hole_px: int = Field(default=2, ge=0, description="The same in pixels for holes.")


class BuildingRuleSettings(RuleSettings):
    """The same of buildings: sheds and courtyards are smaller than what else is worth a feature."""

    min_area_m2: float = Field(default=8.0, ge=0, description="Polygons smaller than this on the ground are dropped.")
    min_hole_m2: float = Field(
        default=4.0, ge=0, description="Holes smaller than this are filled, unless a feature lies in them."
    )


class BuildingSettings(_Settings):
    """How walls are squared."""

    enabled: bool = Field(default=True, description="Whether buildings are squared; else they keep their outline.")
    tolerance_m: float = Field(
        default=0.75, gt=0, description="The border may leave a wall by this much before it has a corner there."
    )
    tolerance_px: float = Field(
        default=1.5, gt=0, description="The same in pixels: what counts where pixels are large."
    )
    shortest_m: float = Field(default=1.5, gt=0, description="Walls shorter than this are dropped.")
    shortest_px: float = Field(default=2.5, gt=0, description="The same in pixels.")
    neck_m: float = Field(
        default=3.0,
        ge=0,
        description="Parts linked by less than this, with a gap between them, are buildings by themselves; 0: none.",
    )
    crown_m: float = Field(
        default=4.5,
        ge=0,
        description="Round bites and holes up to this radius are trees over a roof, below which walls go on; 0: none.",
    )
    least_iou: float = Field(
        default=0.85, gt=0, lt=1, description="A squared building that agrees less with its pixels keeps its outline."
    )


class CenterlineSettings(_Settings):
    """How roads are thinned to lines."""

    enabled: bool = Field(default=True, description="Whether roads also become centrelines.")
    resolution_m: float = Field(
        default=1.05,
        gt=0,
        description="Roads are thinned at this pixel size or just finer; finer pixels are put together first.",
    )
    max_width_m: float = Field(
        default=40.0,
        gt=0,
        description="Widest road of which the line is exact across blocks; sets the rows read beyond a block.",
    )
    spur_m: float = Field(default=3.0, ge=0, description="Dead ends shorter than this and 1.2 half-widths are pruned.")
    min_length_m: float = Field(default=10.0, ge=0, description="Roads in one piece shorter than this give no line.")
    island_m2: float = Field(
        default=60.0, ge=0, description="Holes in roads smaller than this (crowns, cars) do not part a line in two."
    )
    bridge_m: float = Field(
        default=16.0,
        ge=0,
        description="Gaps up to this, from border to border, are bridged where a road goes on straight and is not seen to end; 0: none.",
    )
    smooth_m: float = Field(
        default=3.0, ge=0, description="Standard deviation of the smoothing along a line; its ends stay."
    )
    simplify_m: float = Field(default=0.3, ge=0, description="Lines may move by this much when vertices are dropped.")


class VectorSettings(_Settings):
    """Everything that decides what the layers look like."""

    simplify_m: float | None = Field(
        default=None,
        ge=0,
        description="Borders may move by this much on the ground when vertices are dropped; null: `simplify_px` pixels; 0: not at all.",
    )
    simplify_px: float = Field(default=1.75, ge=0, description="The same in pixels, where `simplify_m` is null.")
    building: BuildingRuleSettings = BuildingRuleSettings()
    road: RuleSettings = RuleSettings()
    area: RuleSettings = RuleSettings()
    buildings: BuildingSettings = BuildingSettings()
    cut_m: float | None = Field(
        default=None,
        ge=0,
        description="Roads are cut into pieces on a grid of this width; null: 500 m, or 512 pixels where that is more; 0: not.",
    )
    centerlines: CenterlineSettings = CenterlineSettings()
    block_rows: int | None = Field(
        default=None,
        ge=1,
        description="Rows of a block, the unit of vectorizing; null: as many as make about 16 MP, 256 to 2048. "
        "Borders keep a vertex where they cross from one block to the next.",
    )

    def of_rule(self, rule: Rule) -> RuleSettings:
        """The filters of a geometry rule."""
        return {"building": self.building, "road": self.road, "area": self.area}[rule]
