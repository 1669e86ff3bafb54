import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.costs import ModelCard, Price, compute_and_memory, dollars, eflops, load_model_cards, prefill
from uis_env.worlds.tree_search.fits import model_cards

CARDS = {card.name: card for card in model_cards()}


@pytest.mark.parametrize(
    ("compute", "memory", "cost"), [(667.4e12, 26.8e12, 4851.4), (85.0e12, 5.9e12, 1002.9)], ids=["full", "early-exit"]
)
def test_published_compute_memory_and_cost_agree_at_intensity_156(compute: float, memory: float, cost: float) -> None:
    # Published to one decimal: the memory traffic alone leaves .05·156 of room, the compute .05.
    assert abs(eflops(compute, memory) - cost) <= 0.05 * 156 + 0.1
    for other in (100.0, 200.0):
        assert abs(eflops(compute, memory, intensity=other) - cost) > 100


@pytest.mark.parametrize(("name", "gibibytes"), [("qwen3-0.6b", 3.5), ("qwen3-32b", 8.0)])
def test_keys_and_values_of_32k_tokens_have_the_published_size(name: str, gibibytes: float) -> None:
    assert CARDS[name].kv_width * 2 * 32 * 1024 / 2**30 == gibibytes


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
@given(trials=st.integers(1, 64), prompt=st.integers(0, 4096), length=st.integers(1, 8192))
def test_equal_lengths_give_the_kinetics_formula(card: ModelCard, trials: int, prompt: int, length: int) -> None:
    compute, memory = compute_and_memory(
        card, prompt=prompt, generated=trials * length, squares=trials * length**2, steps=length
    )
    p, n, d, r = card.params, trials, card.kv_width, card.group_ratio
    assert p is not None
    assert compute == pytest.approx(2 * p * n * length + 2 * r * n * prompt * length * d + r * n * length**2 * d)
    assert memory == pytest.approx(2 * prompt * length * d + n * length**2 * d)
    assert eflops(compute, memory) == pytest.approx((compute + 156 * memory) / 1e12)


def test_squares_count_what_each_token_attends_to() -> None:
    lengths = [3, 5]
    assert sum(2 * before + 1 for n in lengths for before in range(n)) == sum(n**2 for n in lengths)


def test_grouped_query_ratio_and_width_follow_the_shape() -> None:
    card = CARDS["qwen3-14b"]
    assert (card.kv_width, card.group_ratio) == (2 * 40 * 8 * 128, 5.0)
    assert [card.group_ratio for card in CARDS.values()] == [2, 2, 4, 4, 5, 8]
    assert prefill(card, [10, 0]).tolist() == [2 * 14.8e9 * 10, 0]


def test_a_model_without_a_shape_has_no_eflops() -> None:
    bare = ModelCard(name="closed", params=1e9)
    with pytest.raises(ValueError, match="'closed' has no layers"):
        compute_and_memory(bare, 1, 1, 1, 1)
    with pytest.raises(ValueError, match="'closed' has no params"):
        compute_and_memory(ModelCard(name="closed"), 1, 1, 1, 1)
    with pytest.raises(ValueError, match="'closed' has no params"):
        prefill(ModelCard(name="closed"), 1)


def test_dollars_add_the_token_classes_and_keep_nan() -> None:
    price = Price(input=2.0, output=8.0, cached=0.5)
    spent = dollars(price, uncached=[1e6, 0, np.nan], cached=[0, 2e6, 0], output=[1e6, 0, 5])
    assert spent[:2].tolist() == [10.0, 1.0]
    assert np.isnan(spent[2])
    with pytest.raises(ValueError, match="price of output tokens is -1"):
        Price(input=1.0, output=-1.0, cached=0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml", "not TOML"),
        ("[other]\nx = 1", r"expected one \[models"),
        ("models = 3", r"expected one \[models"),
        ("[models.m]\nlayer = 3", "models.m: unknown key 'layer'"),
        ("[models.m]\nlayers = -3", "models.m.layers: -3, expected a number > 0"),
        ("[models.m]\nparams = nan", "models.m.params: nan, expected a number > 0"),
        ("[models.m]\nlayers = true", "models.m.layers: True"),
        ("[models.m]\nparams = 'big'", "models.m.params: 'big'"),
        ("[models.m]\nprice = 3", "models.m.price: expected exactly input, output and cached"),
        ("[models.m]\nprice = {input = 1, output = 2}", "models.m.price: expected exactly"),
        ("[models.m]\nprice = {input = 1, output = 'x', cached = 0}", "models.m.price.output: 'x'"),
        ("[models.m]\nprice = {input = 1, output = inf, cached = 0}", "models.m: price of output tokens is inf"),
    ],
)
def test_bad_model_files_name_file_and_key(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_model_cards(path)
    assert str(path) in str(error.value)


def test_a_model_file_is_read_whole(tmp_path) -> None:
    path = tmp_path / "models.toml"
    path.write_text("[models.a]\nparams = 2e9\nlayers = 4\nprice = {input = 1, output = 2, cached = 0}\n[models.b]\n")
    assert load_model_cards(path) == {
        "a": ModelCard("a", params=2e9, layers=4, price=Price(1.0, 2.0, 0.0)),
        "b": ModelCard("b"),
    }
