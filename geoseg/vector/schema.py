"""What a layer of the GeoPackage is: its name, geometry, fields and look. Plain data, no I/O."""

from dataclasses import dataclass
from typing import Literal

from geoseg.legend import Legend, LegendClass

GeometryType = Literal["Polygon", "LineString", "Point"]
FieldType = Literal["int64", "float64", "string", "bool"]
Look = Literal["building", "road", "area", "centerline", "node"]


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute of a layer."""

    name: str
    """Column name; a length or area ends in its unit."""
    type: FieldType
    alias: str
    """What QGIS shows instead of the column name, with the unit."""
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One table of the GeoPackage; written typed even when it has no feature."""

    name: str
    geometry: GeometryType
    fields: tuple[Field, ...]
    look: Look
    """Which style QGIS gives it."""
    classes: tuple[LegendClass, ...]
    """The classes whose features it holds, in the order of their ids."""


ID = Field("id", "int64", "Id", "Number of the feature, from the top of the scene down")
CLASS = Field("class", "string", "Class", "Name of the class")
AREA = Field("area_m2", "float64", "Area (m²)", "Area on the ground in square metres")
PERIMETER = Field("perimeter_m", "float64", "Perimeter (m)", "Length of all rings on the ground in metres")
LENGTH = Field("length_m", "float64", "Length (m)", "Length on the ground in metres")
WIDTH = Field("width_m", "float64", "Width (m)", "Median width of the road along the line in metres")
CONFIDENCE = Field("confidence", "float64", "Confidence (0–1)", "Mean of the model's confidence over the pixels")
REGULARIZED = Field(
    "regularized", "bool", "Squared", "Whether straight walls were fitted; else the outline of the pixels"
)
SHAPE = Field(
    "shape", "string", "Shape", "right angles, diagonal walls, free angles, circle, or outline where not squared"
)
ORIENTATION = Field(
    "orientation_deg",
    "float64",
    "Orientation (°)",
    "Direction of the main walls in degrees, counter-clockwise from east, 0 to under 90; empty for circles and outlines",
)
PART_OF = Field(
    "part_of", "int64", "Part of", "Id of the road that was cut into pieces on a grid; its first piece has it"
)
WIDTH_STD = Field("width_std_m", "float64", "Width ± (m)", "Standard deviation of the width along the line in metres")
INFERRED = Field("inferred", "bool", "Inferred", "Whether the line bridges a gap, where no road was seen")
COMPONENT = Field("component", "int64", "Component", "Number of the part of the network that is connected")
FROM_NODE = Field("from_node", "int64", "From node", "Id of the node where the line begins")
TO_NODE = Field("to_node", "int64", "To node", "Id of the node where the line ends")
DEGREE = Field("degree", "int64", "Degree", "Line ends that meet here: 1 a dead end, 3 and more a junction")
SCENE = Field("scene", "string", "Scene", "Name of the scene the feature was mapped from")

AREA_FIELDS = (ID, CLASS, AREA, PERIMETER, CONFIDENCE, SCENE)
BUILDING_FIELDS = (ID, CLASS, AREA, PERIMETER, CONFIDENCE, REGULARIZED, SHAPE, ORIENTATION, SCENE)
ROAD_FIELDS = (ID, CLASS, AREA, PERIMETER, CONFIDENCE, PART_OF, SCENE)
CENTERLINE_FIELDS = (
    ID,
    CLASS,
    LENGTH,
    WIDTH,
    WIDTH_STD,
    CONFIDENCE,
    INFERRED,
    COMPONENT,
    FROM_NODE,
    TO_NODE,
    SCENE,
)  # fmt: skip
NODE_FIELDS = (ID, DEGREE, COMPONENT, SCENE)


def layers_of(legend: Legend) -> tuple[Layer, ...]:
    """The layers that a legend asks for, in drawing order from top to bottom.

    Classes that name the same layer share it, if their rules agree; the first one's rule counts.
    """
    grouped: dict[str, list[LegendClass]] = {}
    for c in legend:
        grouped.setdefault(c.layer, []).append(c)
    layers: list[Layer] = []
    for name, classes in grouped.items():
        rule = classes[0].rule
        fields = {"building": BUILDING_FIELDS, "road": ROAD_FIELDS, "area": AREA_FIELDS}[rule]
        layers.append(Layer(name=name, geometry="Polygon", fields=fields, look=rule, classes=tuple(classes)))
        lines, nodes = classes[0].centerline_layer, classes[0].node_layer
        if lines is not None and nodes is not None:
            layers.append(
                Layer(
                    name=lines,
                    geometry="LineString",
                    fields=CENTERLINE_FIELDS,
                    look="centerline",
                    classes=tuple(classes),
                )
            )
            layers.append(Layer(name=nodes, geometry="Point", fields=NODE_FIELDS, look="node", classes=tuple(classes)))
    return tuple(layers)
