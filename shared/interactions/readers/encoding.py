"""How the bytes of a text file are read: as UTF-8, and as another encoding where no doubt is left.

The first bytes tell UTF-8 and UTF-16 with or without a mark. Where a file turns out not to be
UTF-8, its bytes are looked at as a whole: GBK and Windows-1252 are taken where they alone give
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8", ""),
    (b"\xff\xfe\x00\x00", "utf-32-le", "UTF-32"),
    (b"\x00\x00\xfe\xff", "utf-32-be", "UTF-32"),
    (b"\xff\xfe", "utf-16-le", "UTF-16"),
    (b"\xfe\xff", "utf-16-be", "UTF-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœ"
_SIGNS = (  # the euro, quotes, dashes, signs of money, measure and trade, in Windows-1252
    b"\x80\x91\x92\x93\x94\x96\x97\x85\xab\xbb\xb0\xae\xa9\x99\xa3\xa7"
    b"\xb7\xb4\xa8\xaa\xba\xbf\xa1\xa0\xbd\xbc\xbe\xb2\xb3\xb5\xb1\xd7"
)
_WESTERN = frozenset(_LETTERS.encode("cp1252") + _SIGNS)
_VOWELS = "aeiouAEIOU"
_CHINESE = (
    "的一是不了人在有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道"
    "行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日者意无力与"
    "长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应向头文体美相见利什二等产或新己制身"
    "果加西月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真处走入几口条平系气题活更别打"
    "女变四总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资金指克保至形便空马科五基书白光放强完设式"
    "色路记南品类求北边交规万取拉格术共清今带导运茶红绿黑蓝黄奶油米包菜肉鱼鸡蛋糖盐酒装瓶盒袋升套男童鞋衣裤裙帽脑"
    "笔纸香花牛"
)
_KOREAN = (
    "이다는을의가에고하지로기리사인대어자시나라도스정수한아보그서은를들해일제것과게으있장전주구상부여동공원유소미안"
    "비성우조선트드레치만면무신마물차커피녹홍빵"
)
# Letters of Western Europe that Windows-1250 has a consonant for: è is its č, ñ its ń.
_DECIDING = "ÀÅÆÈÒØàåæèòøœ"


def utf8_by_start(content: bytes, errors: str = "strict") -> tuple[bytes, str]:
    """Decides by the first bytes alone.

    Args:
        content: Of the file, or its first bytes.
        errors: What happens to a letter that is cut; as in `bytes.decode`.

    Returns:
        The content without a byte order mark, as UTF-8 where it was UTF-16 or UTF-32, and what was
        taken in words; "" for UTF-8.

    Raises:
        UnicodeDecodeError: A mark is there and what follows is not so encoded.
    """
    for mark, encoding, words in _MARKS:
        if content.startswith(mark):
            rest = content.removeprefix(mark)
            return (rest.decode(encoding, errors).encode() if words else rest), words
    start = content[:4096]
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[0::2])):
        # Without a mark each ASCII letter has a zero byte on one side, and the header has no other.
        if len(start) >= 4 and zeros.count(0) >= 0.9 * len(zeros) and start.count(0) < len(start):
            return content.decode(encoding, errors).encode(), "UTF-16"
    return content, ""


def utf8_by_all(content: bytes) -> tuple[bytes, str] | None:
    """Decides over bytes that are not UTF-8; None where more than one encoding is possible."""
    runs = [match.group() for match in _HIGH.finditer(content)]
    # A file of UTF-8 with one damaged cell is that and nothing else.
    if 2 * sum(map(is_utf8, runs)) > len(runs):
        return None
    if _is_chinese(runs):
        encoding, words = "gb18030", "GBK"
    elif _is_western(content, runs):
        encoding, words = "cp1252", "Windows-1252"
    else:
        return None
    try:
        return content.decode(encoding).encode(), words
    except UnicodeDecodeError:
        return None


def _is_chinese(runs: Iterable[bytes]) -> bool:
    """Whether all bytes above ASCII are pairs of GB 2312, as in Chinese and in no other script."""
    pairs: list[bytes] = []
    longest = 0
    for run in runs:
        if len(run) % 2:
            return False
        longest = max(longest, len(run))
        for lead, trail in zip(run[0::2], run[1::2], strict=True):
            if not (0xA1 <= lead <= 0xF7 and trail >= 0xA1) or lead in (0xA4, 0xA5):
                return False  # EUC-JP has its kana there
            if lead >= 0xB0:
                pairs.append(bytes((lead, trail)))
    # Hangul and two letters of single bytes (Cyrillic, Greek) are pairs too, of other frequencies.
    chinese, korean = (
        sum(map(frozenset(_pairs(letters, encoding)).__contains__, pairs))
        for letters, encoding in ((_CHINESE, "gb2312"), (_KOREAN, "euc-kr"))
    )
    return longest >= 4 and len(pairs) >= 4 and chinese >= max(2 * korean, 0.2 * len(pairs))


def is_utf8(content: bytes) -> bool:
    """Whether bytes are UTF-8; of a large file without a copy of it."""
    ends = pa.array([0, len(content)], pa.int64()).buffers()[1]
    text = pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(content))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _pairs(letters: str, encoding: str) -> list[bytes]:
    return [letter.encode(encoding) for letter in letters]


def _is_western(content: bytes, runs: Iterable[bytes]) -> bool:
    """Whether all bytes above ASCII are single letters of Western Europe among ASCII ones."""
    # One odd byte may be damage.
    if len(re.findall(rb"[a-zA-Z][\x80-\xff]|[\x80-\xff][a-zA-Z]", content)) < 2:
        return False
    letters: set[int] = set()
    for run in runs:
        if len(run) > 3 or not _WESTERN.issuperset(run) or is_utf8(run):
            return False
        letters.update(run)
    present = bytes(sorted(letters))
    if present.decode("cp1250", "replace") == present.decode("cp1252"):
        return True  # the same in Central Europe
    return _has_western_vowels(content)


def _has_western_vowels(content: bytes) -> bool:
    """Whether letters that only Western Europe reads as vowels stand where vowels stand."""
    apart = beside_vowel = 0
    pattern = "(?=(^|[^a-zA-Z]|[a-zA-Z])[" + _DECIDING + "]($|[^a-zA-Z]|[a-zA-Z]))"
    for before, after in re.findall(pattern, content.decode("cp1252", "replace"), re.MULTILINE):
        if (before and before in _VOWELS) or (after and after in _VOWELS):
            beside_vowel += 1
        else:
            apart += 1
    spanish = len(re.findall(rb"[aeiouAEIOU]\xf1[aeiou]", content))
    return apart + spanish >= 1 and apart + spanish >= 4 * beside_vowel
