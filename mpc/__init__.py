"""The language of privity and its meaning: programs traced into data, lowered by a suite, checked, priced, run.

    import mpc

    @mpc.program
    def average_salary(salaries):                 # one private array per party
        total = sum(mpc.share(s) for s in salaries)
        return mpc.reveal(total / len(salaries))

Programs use `share`, arithmetic, `repeat` and `reveal`; protocol rules use `mask`, `masked`, `deal` and `open`.
"""

from mpc.api import emulate, simulate
from mpc.arrays import broadcast_to, concatenate, matmul, mean, permutation, permute, reshape, stack, transpose
from mpc.arrays import sum_ as sum  # noqa: A004 - numpy's name
from mpc.comparing import at_least, is_negative, is_zero, where
from mpc.comparing import where as if_else
from mpc.define import ProgramFunction, program
from mpc.elementary import cos, exp, log, reciprocal, rsqrt, sin, softmax, sqrt, tanh
from mpc.errors import (
    InputError,
    LeakError,
    MpcError,
    OverflowRefusal,
    PeerError,
    PolicyError,
    ProgramError,
    SecretError,
    ShapeError,
    UsageError,
)
from mpc.functions import sigmoid
from mpc.handles import Handle
from mpc.language import (
    accept_rounding,
    assume_range,
    bounded,
    chi_square_tail,
    constant,
    keep,
    nonzero,
    rescale,
    reveal,
    secret,
    share,
    student_tail,
    truth,
    withheld,
    within,
)
from mpc.linalg import covariance, einsum, inverse, outer, solve
from mpc.loops import repeat
from mpc.lowering import Lowered, Suite
from mpc.magnitudes import exponent, ldexp, magnitude, rint
from mpc.ordering import (
    absolute,
    argmax,
    argmin,
    clip,
    maximum,
    median,
    minimum,
    quantile,
    relu,
    sign,
    sort,
    sort_by,
    top_k,
)
from mpc.ordering import max_ as max  # noqa: A004 - numpy's name
from mpc.ordering import min_ as min  # noqa: A004 - numpy's name
from mpc.polynomials import polynomial
from mpc.pricing import Plan
from mpc.programs import Program
from mpc.rules import (
    Wrapped,
    bit,
    cross,
    deal,
    look,
    mask,
    masked,
    masked_low,
    msb,
    onehot,
    open,  # noqa: A004 - the field's word
    protocol,
    series,
    terms,
    waves,
)
from mpc.surface import PerParty, Private, Public, Secret, Table
from mpc.table import Schema, owned
from mpc.totals import total

__all__ = [
    "Handle",
    "InputError",
    "LeakError",
    "Lowered",
    "MpcError",
    "OverflowRefusal",
    "PeerError",
    "PerParty",
    "Plan",
    "PolicyError",
    "Private",
    "Program",
    "ProgramError",
    "ProgramFunction",
    "Public",
    "Schema",
    "Secret",
    "SecretError",
    "ShapeError",
    "Suite",
    "Table",
    "UsageError",
    "Wrapped",
    "absolute",
    "accept_rounding",
    "argmax",
    "argmin",
    "assume_range",
    "at_least",
    "bit",
    "bounded",
    "broadcast_to",
    "chi_square_tail",
    "clip",
    "concatenate",
    "constant",
    "cos",
    "covariance",
    "cross",
    "deal",
    "einsum",
    "emulate",
    "exp",
    "exponent",
    "if_else",
    "inverse",
    "is_negative",
    "is_zero",
    "keep",
    "ldexp",
    "log",
    "look",
    "magnitude",
    "mask",
    "masked",
    "masked_low",
    "matmul",
    "max",
    "maximum",
    "mean",
    "median",
    "min",
    "minimum",
    "msb",
    "nonzero",
    "onehot",
    "open",
    "outer",
    "owned",
    "permutation",
    "permute",
    "polynomial",
    "program",
    "protocol",
    "quantile",
    "reciprocal",
    "relu",
    "repeat",
    "rescale",
    "reshape",
    "reveal",
    "rint",
    "rsqrt",
    "secret",
    "series",
    "share",
    "sigmoid",
    "sign",
    "simulate",
    "sin",
    "softmax",
    "solve",
    "sort",
    "sort_by",
    "sqrt",
    "stack",
    "student_tail",
    "sum",
    "tanh",
    "terms",
    "top_k",
    "total",
    "transpose",
    "truth",
    "waves",
    "where",
    "withheld",
    "within",
]
