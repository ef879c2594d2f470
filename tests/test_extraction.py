"""Which program an answer holds: a table of forms in which models write answers, and what `main` looks like."""

from parallax_lib.tasks.extraction import extract
from parallax_lib.tasks.main_function import has_main

PROGRAM = '#include <stdio.h>\nint main(int argc, char **argv) {\n  printf("%d\\n", argc);\n  return 0;\n}'
OTHER = "#include <stdio.h>\nint main() { return 1; }"
FENCE_IN_STRING = PROGRAM.replace('"%d\\n"', '"```cpp\\n%d```\\n"')
FENCE_IN_RAW = '#include <stdio.h>\nconst char *doc = R"md(\n```\nusage\n```\n)md";\nint main() {\n  puts(doc);\n}'
FENCE_IN_COMMENT = "/*\n```\n./program 10\n```\n*/\n" + PROGRAM + "\n// ``` and 'one quote\nint after;"
FENCE_SPLICED = '#include <stdio.h>\nint main() {\n  puts("a\\\n```\\\n");\n}'
DIGITS = "int n = 1'000'000; /* a */ char q = '\"'; char t = '`';\n" + PROGRAM


def test_every_opening_fence_is_one():
    for opening in (
        "```", "``` ", "```cpp", "``` cpp", "```cpp  ", "```\tcpp", "```c++", "```C++", "```c++17", "```cuda-cpp", "```cuda", "```CUDA C++",
        "```c", "```cu", "```cpp title=\"main.cpp\"", "```cpp:main.cpp", "```{.cpp .numberLines}", "```cpp {linenos=true}", "```text",
        "````cpp", "~~~cpp", "~~~ c++17", "~~~~", "  ```cpp",
    ):  # fmt: skip
        marks = opening.strip()[: 4 if opening.startswith(("````", "~~~~")) else 3]
        for end in ("\n", "\r\n"):
            for closing in (f"\n{marks}\nIt prints argc.", f"\n{marks}  ", ""):
                answer = f"Here is the program:\n\n{opening}\n{PROGRAM}{closing}".replace("\n", end)
                assert extract(answer) == PROGRAM + "\n", (opening, end, closing)


def test_the_program_of_an_answer():
    indented = PROGRAM.replace("\n", "\n   ")
    quoted = PROGRAM.replace("\n", "\n> ")
    for answer in (
        PROGRAM,
        "\ufeff" + PROGRAM,
        f"\ufeff```cpp\n\ufeff{PROGRAM}\n```",
        f"```bash\ng++ -O2 src/*.cpp && ./a.out # main\n```\nThen:\n```cpp\n{PROGRAM}\n```",
        f"```\ng++ src/*.cpp\n```\nand\n```cpp\n/* program */\n{PROGRAM}\n```".replace("/* program */\n", ""),
        f"First try:\n```cpp\n{OTHER}\n```\nBetter:\n```cpp\n{PROGRAM}\n```\nRun:\n```sh\n./main\n```",
        f"```cpp\n{PROGRAM}\n```\nThe kernel alone:\n```cpp\nvoid kernel(double *x, int n) {{ for (int i = 0; i < n; i++) x[i] += 1; }} "
        + "// a long line" * 20 + "\n```",
        f"<think>\n```cpp\n{PROGRAM}\nint rejected;\n```\nno, a race\n</think>\n```cpp\n{PROGRAM}\n```",
        f"<think>Try\n```cpp\n{PROGRAM}\nint unclosed; /* draft\n</think>\n\n{PROGRAM}",
        f"So ```cpp\n{PROGRAM}\nint rejected;\n```\nDone.\n</think>\n```cpp\n{PROGRAM}\n```",
        f"<thinking>{PROGRAM} int rejected;</thinking>\n```\n{PROGRAM}\n```",
        f"[THINK]\n{PROGRAM} int rejected;\n[/THINK]```cpp\n{PROGRAM}\n```",
        f"```cpp\nLet me think. It's hard.\n</think>\n```cpp\n{PROGRAM}\n```",
        f"```cpp\nSure! Here's the OpenMP version:\n\n```cpp\n{PROGRAM}\n```",
        f"{PROGRAM}\n```\nThis program prints `argc`.",
        f"{PROGRAM}```\nThis program prints argc.",
        f"{PROGRAM}\n```\nBuild it:\n```bash\nmake\n```",
        f"```cpp\n{PROGRAM}```",
        f"Here it is: ```cpp\n{PROGRAM}\n```",
        f"```cpp {PROGRAM}\n```",
        f"```{PROGRAM}\n```",
        f"1. The program:\n\n   ```cpp\n   {indented}\n   ```\n2. Run it.",
        f"- ```cpp\n  {PROGRAM.replace(chr(10), chr(10) + '  ')}\n  ```",
        f"> ```cpp\n> {quoted}\n> ```",
        f"````markdown\n# Answer\n```cpp\n{PROGRAM}\n```\n````\n",
        f"```markdown\n```cpp\n{PROGRAM}\n```\n```\nEnjoy the program.",
        f"````cpp\n{PROGRAM}\n````",
        f"<code>\n{PROGRAM}\n</code>",
        f'<pre><code class="language-cpp">{PROGRAM}\n</code></pre>',
        f"<answer>\n{PROGRAM}\n</answer>",
        f"<pre><code>{PROGRAM.replace('<', '&lt;').replace('>', '&gt;')}</code></pre>",
        f"\\begin{{lstlisting}}[language=C++]\n{PROGRAM}\n\\end{{lstlisting}}",
        f"[code]\n{PROGRAM}\n[/code]",
        f"Sure! Here is the translated program:\n\n{PROGRAM}\n\nThis program uses a parallel loop.",
        f"{PROGRAM}<|im_end|>",
        f"```diff\n-int main() {{\n+int main(void) {{\n```\n```cpp\n{PROGRAM}\n```",
        f"```python\nint_main = 'int main() {{'\n```\n```cpp\n{PROGRAM}\n```",
        f"Use ```g++``` to build.\n```cpp\n{PROGRAM}\n```",
        f"```cpp\n{OTHER.replace('return 1', 'return 2')}\n/* never closed\n```\nagain:\n```cpp\n{PROGRAM}\n```",
    ):
        assert extract(answer) == PROGRAM + "\n", answer


def test_a_fence_in_a_string_or_comment_does_not_cut():
    for program in (FENCE_IN_STRING, FENCE_IN_RAW, FENCE_IN_COMMENT, FENCE_SPLICED, DIGITS):
        ended = f"~~~\n{program}\n~~~\nend"
        for answer in (f"```cpp\n{program}\n```", f"Now:\n```cpp\n{program}\n```\nIt's done.", f"```cpp\n{program}", ended):
            assert extract(answer) == program + "\n", answer


def test_an_answer_that_was_cut_off_is_still_a_program():
    for end in range(PROGRAM.index("argc"), len(PROGRAM)):
        assert extract("```cpp\n" + PROGRAM[:end]) == PROGRAM[:end].strip() + "\n"


def test_what_is_no_program():
    for answer in (
        "", "```cpp\n```", "I am sorry, I cannot translate the main() function.", "I'm sorry, but I can't write int main() { } for you.",
        "```\nThe main function is missing.\n```", "```cpp\nint domain;\n```", "int remainder(int a) { return a; }",
        f"<think>\n```cpp\n{PROGRAM}\n```\n", f"<think>{PROGRAM}</think>\nI cannot do it.", "```bash\nint main() { }\n```",
        "```cpp\nvoid kernel(int n) { /* int main() { */ }\n```", '```cpp\nchar *s = "int main() {}";\n```',
        "```java\npublic class A { public static void main(String[] a) { } }\n```", "class A { public static void main(String[] a) { } }",
        "```python\ndef main():\n    pass\n```",
    ):  # fmt: skip
        assert extract(answer) is None, answer


def test_a_function_is_enough_where_no_main_is_asked():
    kernel = "void scale(double *x, int n) {\n  for (int i = 0; i < n; i++) x[i] *= 2;\n}"
    after_command = f"```bash\nls\n```\n```cpp\n{kernel}\n```"
    for answer in (f"```cpp\n{kernel}\n```", after_command, f"Here is the function:\n{kernel}\nIt doubles x.", kernel):
        assert extract(answer) is None and extract(answer, needs_main=False) == kernel + "\n", answer
    assert extract(f"```cpp\n{PROGRAM}\n```", needs_main=False) == PROGRAM + "\n"
    assert extract("I am sorry, scale() cannot be written.", needs_main=False) is None


MAIN = (
    'int main(void) { }',
    'auto main() -> int { return 0; }',
    'int\nmain (int argc, char **argv)\n{\n}',
    '#include <x>\nint main(){}',
    'template <class T> T f(T x){return x;}\nint main(int argc,char**argv){',
    'int main(int argc, ch',
    'main() { }',
    'extern "C" int main() {}',
    'extern "C" {\nint main() {}\n}',
    'int main() try { } catch(...) {}',
    '[[maybe_unused]] int main() noexcept {}',
    '__attribute__((noinline)) int main() {',
    'int (main)(void) {}',
    'int main(argc, argv) int argc; char **argv; { return 0; }',
    'struct A { int x; };\nint main() {',
    'std::int32_t main() {}',
    '#if A\nint f() {\n#else\nint f(int) {\n#endif\n}\nint main() {',
    'int main(int argc, char *argv[]) // x\n{',
    'class X { void f() { } } x; int main () {',
    'namespace a { int f() {return 1;} } int main() {}',
    'signed main() {}',
    'static struct P f(int x) { struct P p; return p; }\nint main(void) {',
    'int/**/main/*x*/(){',
    'void main() {',
    'I main() {}',
    'MAIN_API int main() {',
    'int main\n(\nint argc, char** argv\n)\n{',
    'const int n = 5; int main(){',
    'enum E { A, B }; int main() {',
    "int x = 1'000; int main() {",
)  # fmt: skip
NO_MAIN = (
    'int domain;',
    '// int main() {}',
    '/* int main() { */',
    'char*s="int main() {";',
    '#define main foo\nint x;',
    '#define M int main() { return 0; }',
    'int main();',
    "I'm sorry, I cannot write int main() here.",
    'I am sorry, I cannot translate the main() function.',
    'The function int main() { } is missing',
    'int domain(int x) { return x; }',
    'struct A { int main() { return 0; } };',
    'namespace n { int main() { } }',
    'int x = main;',
    'fn main() {}',
    'func main() {',
    'public static void main(String[] args) {}',
    'def main():\n  pass',
    'int remain(int x) {}',
    'return main(argc);',
    'int mainframe() {}',
    'template <class T> int main(T x) { }',
    'auto s = R"(\nint main() {}\n)";',
    'int main = 5;',
    'foo.main() ;',
    'if (main()) {',
    '#define X \\\n int main() {\nint y;',
    'your main function is int main, sorry',
    "I'm sorry, but int main() {",
    "'int main() {}' is not given",
    'obj::main() ;',
)  # fmt: skip


def test_main_is_a_function():
    for code in MAIN:
        assert has_main(code), code
    for code in NO_MAIN:
        assert not has_main(code), code
