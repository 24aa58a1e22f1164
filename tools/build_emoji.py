"""Rebuild the emoji sprite sheet and its tables from openly licensed npm packages.

    pip install -e '.[assets]'
    python tools/build_emoji.py --out DIR

Needs npm on the path. The packages are read as data: none of their code runs.
"""

import argparse
import csv
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from PIL import Image

HERE = Path(__file__).parents[1] / "taclean" / "assets" / "emoji"
CELL = 64
COLUMNS = 48
RENDER = 256  # SVGs are drawn larger, cropped to the drawing, then reduced: cleaner edges
QUALITY = 85
ALPHA_QUALITY = 70  # full alpha precision would add half a megabyte

# style -> npm package; the first five are for training, the last two are held out.
STYLES = {
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "noto-v1": "@iconify-json/noto-v1@1.2.5",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "fxemoji": "@iconify-json/fxemoji@1.2.2",
    "emojione": "@iconify-json/emojione@1.2.3",
    "noto": "@iconify-json/noto@1.2.9",
    "fluent-3d": "@lobehub/fluent-emoji-3d@1.1.0",
}

# "group: name codepoint...; ...". A * marks the 100 default classes, a + a plural name.
VOCABULARY = """
fruit: banana* 1f34c; apple* 1f34e 1f34f; pear 1f350; peach 1f351; cherry 1f352
fruit: strawberry* 1f353; grapes*+ 1f347; melon 1f348; watermelon* 1f349; orange 1f34a
fruit: lemon* 1f34b; pineapple* 1f34d; kiwi 1f95d; tomato 1f345; coconut 1f965; mango 1f96d
vegetable: avocado 1f951; eggplant* 1f346; potato 1f954; carrot 1f955; corn* 1f33d
vegetable: chili pepper* 1f336; cucumber 1f952; broccoli 1f966; mushroom* 1f344; chestnut 1f330
vegetable: onion 1f9c5; peanut 1f95c
food: bread 1f35e; croissant 1f950; pancakes+ 1f95e; cheese 1f9c0; hamburger* 1f354
food: french fries*+ 1f35f; pizza* 1f355; hot dog 1f32d; taco 1f32e; egg 1f95a; popcorn 1f37f
food: sushi 1f363; spaghetti 1f35d; ice cream* 1f366 1f368; doughnut* 1f369; cookie 1f36a
food: cake* 1f382 1f370; chocolate 1f36b; candy 1f36c; lollipop* 1f36d
drink: coffee* 2615; milk 1f95b; wine* 1f377; beer* 1f37a; cocktail 1f378; tea 1f375
drink: baby bottle* 1f37c
mammal: dog* 1f436 1f415 1f429; cat* 1f431 1f408; lion 1f981; tiger 1f42f 1f405; leopard 1f406
mammal: horse* 1f434 1f40e; cow 1f42e 1f404; pig* 1f437 1f416; sheep 1f40f 1f411; goat 1f410
mammal: camel 1f42a 1f42b; elephant* 1f418; rhinoceros 1f98f; mouse 1f42d 1f401
mammal: rabbit 1f430 1f407; hamster 1f439; bear 1f43b; koala 1f428; panda* 1f43c
mammal: monkey* 1f435 1f412; gorilla 1f98d; wolf 1f43a; fox 1f98a; deer 1f98c; bat 1f987
mammal: squirrel 1f43f; zebra 1f993; giraffe 1f992; kangaroo 1f998; raccoon 1f99d
bird: chicken* 1f414 1f413; chick* 1f424 1f425; penguin* 1f427; eagle 1f985; duck 1f986
bird: owl 1f989; dove 1f54a; turkey 1f983; parrot 1f99c; flamingo 1f9a9; peacock 1f99a
bird: swan 1f9a2
reptile: frog* 1f438; crocodile* 1f40a; turtle* 1f422; lizard 1f98e; snake* 1f40d
reptile: dragon 1f432 1f409; dinosaur 1f995 1f996
sea animal: whale* 1f433 1f40b; dolphin 1f42c; fish* 1f41f 1f420; pufferfish 1f421; shark 1f988
sea animal: octopus* 1f419; crab 1f980; lobster 1f99e; shrimp 1f990; squid 1f991; seashell* 1f41a
insect: snail* 1f40c; butterfly 1f98b; caterpillar 1f41b; ant 1f41c; bee* 1f41d; ladybug* 1f41e
insect: spider* 1f577; scorpion 1f982
plant: rose* 1f339; sunflower* 1f33b; tulip 1f337; hibiscus 1f33a; cactus* 1f335
plant: palm tree* 1f334; pine tree 1f332; tree* 1f333; clover 1f340; maple leaf 1f341
vehicle: car* 1f697 1f698; taxi 1f695 1f696; bus* 1f68c 1f68d; fire truck* 1f692
vehicle: ambulance* 1f691; police car 1f693 1f694; truck 1f69a 1f69b; tractor* 1f69c
vehicle: motorcycle 1f3cd; scooter 1f6f5; bicycle* 1f6b2; train 1f682 1f686; tram 1f68b 1f68a
vehicle: race car 1f3ce
boat or aircraft: airplane* 2708 1f6e9; helicopter* 1f681; rocket* 1f680; sailboat 26f5
boat or aircraft: speedboat 1f6a4; ship 1f6a2 1f6f3; canoe 1f6f6; anchor* 2693
building: house* 1f3e0 1f3e1; castle* 1f3f0 1f3ef; church* 26ea; hospital 1f3e5; school 1f3eb
building: factory* 1f3ed; tent 26fa; ferris wheel 1f3a1; fountain 26f2; statue of liberty 1f5fd
nature: volcano 1f30b; mountain 1f3d4 26f0; moon* 1f319; sun* 2600 1f31e; star 2b50 1f31f
nature: cloud* 2601; rainbow 1f308; snowflake 2744; snowman* 2603 26c4; fire* 1f525
nature: umbrella* 2602 2614; lightning 26a1; wave 1f30a; globe* 1f30d 1f30e 1f30f
clothing: glasses+ 1f453; sunglasses+ 1f576; necktie 1f454; shirt* 1f455; jeans*+ 1f456
clothing: dress* 1f457; kimono 1f458; bikini 1f459; handbag 1f45c 1f45b; backpack* 1f392
clothing: shoe 1f45e 1f45f; high heel 1f460; boot 1f462; crown* 1f451; hat 1f452; top hat* 1f3a9
clothing: ring 1f48d; diamond 1f48e; gloves+ 1f9e4; socks+ 1f9e6; scarf 1f9e3
instrument: guitar* 1f3b8; piano* 1f3b9; violin 1f3bb; saxophone 1f3b7; trumpet* 1f3ba
instrument: drum 1f941; microphone 1f3a4; headphones*+ 1f3a7; bell* 1f514
sports item: soccer ball* 26bd; baseball 26be; basketball 1f3c0; volleyball 1f3d0
sports item: american football 1f3c8; tennis racket 1f3be; bowling 1f3b3; boxing glove 1f94a
sports item: ice skate 26f8; skis+ 1f3bf; trophy* 1f3c6; medal 1f3c5; balloon* 1f388; gift* 1f381
sports item: christmas tree* 1f384; pumpkin* 1f383; dice 1f3b2; teddy bear 1f9f8
device: mobile phone 1f4f1; telephone* 260e; battery 1f50b; laptop 1f4bb; desktop computer 1f5a5
device: printer 1f5a8; computer mouse 1f5b1; television* 1f4fa; radio 1f4fb; camera* 1f4f7 1f4f8
device: film projector 1f4fd; light bulb* 1f4a1; flashlight 1f526; candle 1f56f
device: clock* 23f0 1f570; watch 231a; hourglass* 231b 23f3; microscope 1f52c; telescope 1f52d
device: joystick 1f579
tool: hammer 1f528; wrench 1f527; screw 1f529; scissors*+ 2702; key* 1f511 1f5dd; lock* 1f512
tool: magnifying glass* 1f50d 1f50e; pencil* 270f; paintbrush 1f58c; crayon 1f58d; ruler 1f4cf
tool: paperclip 1f4ce; book* 1f4d5 1f4d7 1f4d8 1f4d9; newspaper 1f4f0; envelope 2709
tool: package 1f4e6; mailbox 1f4ea 1f4eb; syringe 1f489; pill 1f48a; bomb* 1f4a3; gun 1f52b
tool: knife 1f52a; dagger 1f5e1; shield 1f6e1; money bag 1f4b0; credit card 1f4b3; door 1f6aa
tool: bed 1f6cf; couch 1f6cb; toilet 1f6bd; bathtub 1f6c1; shopping cart 1f6d2; trash can 1f5d1
tool: globe map 1f5fa
"""

# Three packages have no table of code points. noto-v1 and emojione use noto's names but for this
# one; fxemoji has its own names, mostly noto's without hyphens, but for those below.
RENAMED = {"noto-v1": {"1f52b": "pistol"}, "emojione": {"1f52b": "pistol"}}
FXEMOJI = """
1f336 chilipepper  1f33d earofmaize  1f346 aubergine  1f34a tangerine  1f355 sliceofpizza
1f370 shortcake  1f330 acorn
1f436 dog  1f415 dogside  1f431 cat  1f408 catside  1f42f tiger  1f405 tigerside
1f406 leopardside  1f437 pig  1f416 pigside  1f411 sheep  1f42a dromedarycamel
1f42b bactriancamel  1f42d mouse  1f401 mouseside  1f430 bunny  1f407 bunnyside
1f439 hampster  1f43c pandaface  1f43a wolfface  1f43f chipmunk  1f425 frontfacingchick
1f54a doveofpeace  1f432 dragonhead  1f409 dragonside  1f433 spurtingwhale  1f421 blowfish
1f332 evergreen  1f3ce racecar  1f682 steamlocomotive  1f3e0 housebuilding
1f3f0 europeancastle  1f3d4 snowmountains  2600 whitesun  1f31f star
2b50 whitemediumstar  26c4 snowmanwithoutsnow  1f30a wave  1f30d europeafricaglobe
1f30e americasglobe  1f30f asiaaustraliaglobe  1f576 darksunglasses  1f454 tie
1f455 mansshirt  1f392 schoolsatchel  1f45b pinkwallet  1f45e mensshoe  1f45f mensrunner
1f460 heels  1f462 boot  1f48e gem  1f3c0 basketballandhoop  1f3be tennisball
1f3bf skiandskiboot  1f381 present  1f4f1 cellphone  260e blacktelephone
1f4bb personalcomputer  1f5b1 threebuttonmouse  1f526 electrictorch
1f570 manltepiececlock  231b hourglass  23f3 hourglassflowingsand  2702 blackscissors
1f512 lock  1f50d leftmagnifyingglass  1f50e rightmagnifyingglass
1f58c lowerleftpaintbrush  1f58d lowerleftcrayon  1f4ea closedmailboxlowered
1f4eb closedmailboxraised  1f52b pistol  1f52a hocho  1f5e1 daggerknife
1f5d1 wastebasket  1f41b bug  1f41d honeybee
"""

# Left out: drawings that fill a square with a background of their own, which would contradict
# captions about the scene's background, and two that do not show the class (a ball without a
# racket, a tram that is all black).
DROPPED = {
    "emojione": {"26fa", "1f3d4"},
    "fxemoji": {
        *("26f5", "1f6a2", "1f3a1", "26f2", "1f5fd", "1f30b", "1f308", "26fa"),
        *("1f3be", "1f68b"),
    },
}


@dataclass(frozen=True)
class EmojiClass:
    """One noun and the emoji that show it."""

    name: str
    group: str
    code_points: tuple[str, ...]
    default: bool
    plural: bool


def vocabulary() -> list[EmojiClass]:
    """Parse VOCABULARY, in its order."""
    classes = []
    for line in VOCABULARY.strip().splitlines():
        group, entries = line.split(": ")
        for entry in entries.rstrip(";").split("; "):
            words = entry.split()
            points = tuple(w for w in words if w[0].isdigit())
            label = " ".join(w for w in words if not w[0].isdigit())
            name = label.rstrip("*+")
            classes.append(EmojiClass(name, group, points, "*" in label, "+" in label))
    return classes


def fetch(package: str, folder: Path) -> tarfile.TarFile:
    """Download one npm package and open its tarball."""
    done = subprocess.run(
        ["npm", "pack", "--silent", "--json", package],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    # npm lists the file under its scoped name or its real one, depending on the version.
    name = json.loads(done.stdout)[0]["filename"].replace("@", "").replace("/", "-")
    return tarfile.open(folder / name)


class SvgStyle:
    """An iconify package: SVG bodies by icon name."""

    def __init__(self, style: str, package: tarfile.TarFile, names: dict[str, str]) -> None:
        self.icons = read_json(package, "icons.json")
        chars = read_json(package, "chars.json")
        if style == "fxemoji":
            words = FXEMOJI.split()
            own = dict(zip(words[::2], words[1::2], strict=True))
            self.names = {p: own.get(p, n.replace("-", "")) for p, n in names.items()}
        else:
            self.names = chars or {**names, **RENAMED.get(style, {})}

    def draw(self, code_point: str) -> Image.Image | None:
        """Render one emoji, or None where the style lacks it."""
        name = self.names.get(code_point, "")
        name = self.icons.get("aliases", {}).get(name, {}).get("parent", name)
        icon = self.icons["icons"].get(name)
        if icon is None:
            return None
        width, height = (icon.get(k, self.icons[k]) for k in ("width", "height"))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
            f"{icon['body']}</svg>"
        )
        # No system fonts: the picture must not depend on the machine.
        png = resvg_py.svg_to_bytes(
            svg_string=svg,
            skip_system_fonts=True,
            width=RENDER if width >= height else None,
            height=None if width >= height else RENDER,
        )
        return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


class WebpStyle:
    """A package of one WebP file per emoji."""

    def __init__(self, package: tarfile.TarFile) -> None:
        self.package = package
        self.files = {Path(m.name).stem.removesuffix("-fe0f"): m for m in package.getmembers()}

    def draw(self, code_point: str) -> Image.Image | None:
        """Read one emoji, or None where the style lacks it."""
        member = self.files.get(code_point)
        stream = self.package.extractfile(member) if member else None
        return Image.open(stream).convert("RGBA") if stream else None


def read_json(package: tarfile.TarFile, name: str) -> dict:
    """Read a JSON file at the top of an npm package."""
    stream = package.extractfile(f"package/{name}")
    assert stream is not None, name
    return json.load(stream)


def fit(image: Image.Image) -> Image.Image:
    """Crop to the drawing and centre it in a cell, its longer side filling it."""
    # Very faint pixels (soft shadows, antialiasing) must not shrink the drawing.
    box = image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox()
    image = image.crop(box)
    scale = CELL / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(image, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return cell


def write_table(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a tab-separated table."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def build(out: Path) -> None:
    """Write sprites.webp, sprites.tsv and classes.tsv to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    classes = vocabulary()
    sprites: list[Image.Image] = []
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        packages = {s: fetch(package, Path(folder)) for s, package in STYLES.items()}
        noto_names = read_json(packages["noto"], "chars.json")
        wanted = {p: noto_names[p] for c in classes for p in c.code_points}
        for style, package in packages.items():
            source = (
                WebpStyle(package) if style == "fluent-3d" else SvgStyle(style, package, wanted)
            )
            for c in classes:
                for point in c.code_points:
                    dropped = point in DROPPED.get(style, ())
                    image = None if dropped else source.draw(point)
                    if image is not None:
                        rows.append([len(sprites), c.name, style, point])
                        sprites.append(fit(image))
            package.close()
    drawn = {(name, style) for _, name, style, _ in rows}
    lacking = [
        c.name for c in classes if c.default and any((c.name, s) not in drawn for s in STYLES)
    ]
    assert not lacking, f"default classes must have every style: {lacking}"

    height = -(-len(sprites) // COLUMNS) * CELL
    sheet = Image.new("RGBA", (COLUMNS * CELL, height))
    for i, sprite in enumerate(sprites):
        sheet.paste(sprite, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    sheet.save(out / "sprites.webp", quality=QUALITY, alpha_quality=ALPHA_QUALITY, method=6)
    write_table(out / "sprites.tsv", ["index", "class", "style", "code_point"], rows)
    write_table(
        out / "classes.tsv",
        ["class", "group", "default", "plural"],
        ([c.name, c.group, int(c.default), int(c.plural)] for c in classes),
    )
    print(f"{len(sprites)} sprites, {len(classes)} classes, {sheet.width}x{height} px -> {out}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=HERE, help="output folder")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
