"""Answers that hang, or fill the memory of, whoever evaluates them: a reply and a gold answer by a name."""

DETERMINANT = " \\\\ ".join(" & ".join(f"x_{{{9 * row + column}}}" for column in range(9)) for row in range(9))
BOMBS = {
    "tower of powers": ("9^{9^{9^9}}", "1"),
    "tower without braces": ("9^9^9^9", "\\sqrt{2}"),
    "deep tower": ("2^{2^{2^{2^{2^2}}}}", "x"),
    "power of a symbol": ("x^{" * 200 + "x" + "}" * 200, "1"),
    "factorial": ("(10^{10})!", "1"),
    "factorial of factorial": ("\\left(\\left(9!\\right)!\\right)!", "1"),
    "binomial": ("\\binom{10^{12}}{10^{11}}", "1"),
    "huge exponent": ("10^{10^{10}} \\pi", "1"),
    "determinant": (f"\\begin{{vmatrix}}{DETERMINANT}\\end{{vmatrix}}", "1"),
    "expansion": ("(x+y+z+1)^{100000}", "(x+y+z+1)^{100001}+1"),
    "integral": ("\\int_0^{\\infty} \\frac{\\sin(x^{x^x})}{\\ln(x^5+\\cos x)} dx", "1"),
    "sum": ("\\sum_{n=1}^{\\infty} \\frac{\\sin(n^2)}{n^{\\sqrt{2}}}", "2"),
    "product": ("\\prod_{n=1}^{1000000000} (n^2+1)", "3"),
    "limit": ("\\lim_{x \\to 0} \\frac{\\sin(\\tan(x))-\\tan(\\sin(x))}{x^{7^{7}}}", "1"),
    "nested brackets": ("(" * 990 + "x" + ")" * 990, "y"),
    "nested braces": ("{" * 900 + "1" + "}" * 900, "\\sqrt{2}"),
    "100,000 nested braces": ("{" * 100_000 + "1" + "}" * 100_000, "2"),
    "a million digits": ("1" * 1_000_000, "2"),
    "1,500 digits": ("7" * 1_500, "\\pi"),
    "nested roots": ("\\sqrt{" * 250 + "2" + "}" * 240, "1"),
    "nested fractions": ("\\frac{" * 180 + "1" + "}{2}" * 180, "\\pi"),
    "products of letters": ("a " * 990 + "!", "b \\sqrt{2}"),
    "absolute values": ("|" * 1_500 + "x", "\\sqrt{2}"),
    "text commands": ("\\text{" * 300 + "x", "\\sqrt{2}"),
}
