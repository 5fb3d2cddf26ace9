"""The background population: pool tags of an ordinary machine, in PoolMon's spelling.

One line a tag: tag, pool (n nonpaged, p paged, b both), typical request sizes, relative weight, how often
each live block was replaced in the past, flags (P protected, Q quota charged, B large allocations too).
Names and pools: facts/tags.md and common knowledge of pooltag lists; weights are made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TABLE: Final = """\
Proc n 608 2 3 P|Thre n 600 30 8 P|Even n 48,64 120 40 PQ|Muta n 56,72 40 9 P|Sema n 44,60 40 20 P
File n 144,160 160 90 P|Devi n 184,360,712,1400 30 1 P|Driv n 200,240 9 1 P|MmLd n 76,96 14 2
MmDT n 24,40,56 6 2|MmCa n 120,168,312 90 12|MmCi n 160,288,420 18 5|MmSe n 48,240 6 5|MmIn n 40 8 6
Mm__ n 64,328,1400 14 2 B|Vad_ n 40,56 120 30|VadS n 32 90 30|Irp_ n 112,220,292 40 900
Io__ n 24,128,512 26 300 BQ|IoNm p 48,90,160 30 400|Mdl_ n 44,60,120 12 700|CcSc n 304,312 40 12
CcVa n 1024 6 5 B|CcVp n 80 10 10|CcPL n 24,32 8 30|CcBc n 128 6 30|CcOb n 96 5 9|Ntfr n 56,64 60 15
Ntfn n 56,88 60 20|Ntf0 n 96 5 4|NtfF p 680,780 30 8|Ntfc p 148,168 60 9|NtfC p 160 20 9
NtFs p 24,80,160,720 80 30 B|NtFA p 40,120 6 30|NtFB p 96 4 10|NtFC p 60 5 9|NtFD p 96,180 6 9
NtFL p 60 18 9|NtFS p 360 3 9|NtFI p 136 4 9|NtFU p 60 3 9|NtFf p 90 9 9|NtfE p 120 12 9|Ntff p 40 30 20
Ntfi p 88 9 9|FSro n 140 6 6|FSfc n 32 9 8|FSim p 110 20 30|FSun p 60 4 9|FMsl n 56 10 9|FMis n 180 20 9
FMfl n 120 4 3|FMfn p 180,320 8 20|FMos p 56 4 9|FMla p 90 4 9|FOCX p 80 4 9|TCPc n 64,160 12 300 B
TCPC n 40 10 200|TCPt n 200,600 7 30 B|TcpA n 48 5 30|AfdA n 88,120 10 60|AfdB n 120,1500 16 200 B
AfdC n 104 10 90|AfdP n 64 4 10|AfdR n 60 6 20|AfdT n 80 4 20|AfdX n 60 4 20|NDpb n 56 14 9
NDpp n 800 4 2 B|NDmb n 96,320 8 4 B|NDam n 64 6 3|NDoc n 120 4 3|NDst n 64 3 3|NbtA n 140 5 9
NbtB n 200 4 9|Nbtc n 100 5 9|NBF_ n 60 2 9|IPax n 60 3 9|IPbp n 120 3 9|IpAT n 200 3 2|UdpA n 60 3 9
Wanp n 300 3 2|PX1a n 60 2 2|usbp n 96,600 10 3 B|USBD n 72 4 3|usbh n 200 4 3|HidC n 80,200 4 2 B
HidP n 300 2 2|Kbdc n 180 1 2|Mouc n 180 1 2|ScSI n 200,500 10 8 B|ScsP n 60 3 4|Disk n 160 3 2
Clas n 120 4 2|Atap n 400 3 2|VMhg n 90,260 6 5 B|Pcii n 120 2 1|PciB n 160 2 1|Acpi n 60,120 10 3
AcpA n 32 16 3|AcpD n 200 3 3 B|AcpM n 40 4 3|AcpS n 120 20 4|AcpR n 60 4 2|AcpI n 40 2 2
HAL_ n 60,80 3 1|Ke__ n 140,200 4 2|KQue n 64 2 2|Pool n 600 2 1 B|PooL n 100 2 9|PcNw n 600 2 1 B
PcSt n 100 2 1|PcFp n 120 2 1|LSwi n 400 2 1 B|Wmit n 120 3 1 B|Wmip p 96,240 20 4|WmiG n 48 4 2
WmiR n 60 4 2|Dump n 300 2 0 B|ReEv n 40 3 2|ReTa n 200 2 2|Dfsm p 60 2 4|SeSd p 120,180,300 120 60
SeSc p 120 8 200|SeAc p 160 6 300|SeTd n 40 4 40|SeTl p 48 4 20|SePr p 20 6 20|SePa n 100 5 8
SeAt p 40 4 50|SeUs p 60 5 30|SeOp p 40 4 40|SeLs p 60 2 3|SeLw p 40 2 3|TkSe p 90 6 60
Toke p 560,780 24 30 PQ|Acl_ p 60 4 60|Sd__ p 90 3 50|ObDi p 20,24 80 15|ObNm p 40,60,120 60 70
ObSq n 20,28 20 9|ObSt n 40 3 3|ObSc p 140 14 20|ObTb p 1000 3 2|Obtb p 1980,3980 30 20 B|ObHd n 60 3 90
ObCI n 60 3 90|ObjT n 400 1 0 P|Key_ p 48,56 50 60 PQ|Dire p 160 5 3 PQ|Symb p 40,56 30 5 P
Sect p 60,88 50 40 PQ|Port n 160 12 9 PQ|LpcM p 280,340 5 80|LpcZ p 340 3 20|Debu n 60 1 1 P
Job_ n 380 1 1 P|Time n 168 8 5 P|Adap n 120 3 1 P|Cont n 120 3 1 P|WmiD n 120 2 1|IoDn n 60 3 5
Type n 50 1 1|Desk n 90 2 1 P|Wind n 100 2 1 P|IoCo n 120 3 2 P|Prof n 80 1 1 P
CM__ p 80,400,1200 30 30 B|CMkb p 92,104 90 40 P|CMnb p 28,44 60 30 P|CMpb p 60 20 30 P|CMVI p 40 5 90
CMVa p 28,60 20 90|CMDa p 60,300 8 90|CMSb p 60,220 9 30|CM10 p 90 4 20|CM11 p 90 4 20|CM16 p 300 3 20 B
CM17 p 200 3 20|CM25 p 4064,4060 4 6 B|CM29 p 200 6 20|CM35 p 3900 20 6 B|CMIn p 60 3 9|CMpa p 60 3 9
CMAl p 3800 3 3 B|MmSt p 320,680,1400,2900 60 12 B|MmSm p 40 10 20|MmSd p 60 3 3|MmSg p 800 2 2 B
Gla1 p 440 12 9|Gla4 p 60 9 9|Gla5 p 300 14 9|Glat p 120 8 9|Gh05 p 200,600 6 9 B|Gh08 p 120 4 9
Gsp_ p 90 4 9|Ggb_ p 90 4 9|GTmp p 600 3 90 B|Gdi_ p 120 3 3|Gpff p 300 4 4|Gpal p 1060 4 4
Gfnt p 200 4 4|Ttfd p 600,1800 12 4 B|Uspi p 240 4 4|Usqu p 60 4 4|Uskb p 200 2 4|Uscu p 90 3 4
Usev p 90 3 4|Usti p 60 4 9|Ussb p 1000 2 4 B|Ustx p 60,120 14 4|Uspc p 60 2 4|Usdc p 60 2 4
Uswd p 200 3 4|DxgK p 120,800 6 4 B|Npfs p 60,160 8 200|NpFc p 100 8 9|NpFd p 60 4 9|NpFC p 120 4 9
MsFc p 60 2 9|Mup_ p 60 3 30|MRXx p 160 3 9|RxFo p 200 3 9|LS01 p 120 6 9|LSxx n 80 4 9|Smss p 40 1 1
PsJb p 60 1 1|PsIm p 120 8 9|PsQt n 60 8 9|PsEx n 40 4 90|PsTp n 32 9 20|Psap n 40 4 200|Arbl p 60 10 5
ArbA p 40 6 5|PnPN p 60 5 9|PpEL p 120 2 9|PpEE p 200 2 60|PpUB p 60 2 9|Ppen p 60 3 9|Ppre p 90 2 40
Pprl p 60 3 40|Ppde p 60 2 9|Fat_ p 80 3 9|Udf1 p 200 2 4|Filo p 120 2 4|Lfs_ p 120 3 9|LfsI p 200 2 9
RtlT p 60 2 9|XBtR p 90 2 9|KSec p 120 4 4|Qppd p 120 3 4|WmRg p 90 3 9|AvgF p 120,300 6 20
Avgn n 90 5 20|SymT p 90,220 6 9|NavE p 424 3 9|MfeL p 520 3 9|McFr n 120 4 9|Zlob p 60 2 4"""

_VISTA_ONLY: Final = """\
EtwB n 3000 6 2 B|EtwG p 60,120 20 9|EtwR n 120 20 3|EtwS n 60 8 3|AlMs p 200,420 14 80|AlIn p 60 5 9
AlHa p 200 4 9|AlP_ n 300 9 9|Dxgm n 300 3 3 B|TmPo p 90 3 9|CIcr p 120 3 1|CLFS p 200 4 9
Clfs p 120 4 9|Nsi_ p 60 3 9|NLap p 60 2 9|PfTt p 600 3 9|Wfpn n 300 4 4 B|SmCo n 200 3 2 B"""


@dataclass(frozen=True)
class TagInfo:
    """Background behaviour of one tag."""

    tag: str
    pools: str
    sizes: tuple[int, ...]
    weight: int
    churn: int
    protected: bool
    quota: bool
    big: bool


def _parse(entry: str) -> TagInfo:
    tag, pools, sizes, weight, churn, *rest = entry.split()
    flags = rest[0] if rest else ""
    return TagInfo(
        tag=tag.replace("_", " "),
        pools=pools,
        sizes=tuple(int(size) for size in sizes.split(",")),
        weight=int(weight),
        churn=int(churn),
        protected="P" in flags,
        quota="Q" in flags,
        big="B" in flags,
    )


def background(nt: str) -> tuple[TagInfo, ...]:
    """The tags of one Windows version."""
    text = _TABLE + ("\n" + _VISTA_ONLY if nt not in ("5.1", "5.2") else "")
    entries = [entry.strip() for line in text.splitlines() for entry in line.split("|")]
    return tuple(_parse(entry) for entry in entries if entry)
