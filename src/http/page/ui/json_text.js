// JSON as text. Used by this page and by `/docs`.

/** The tokens of a JSON text. Texts are changed token by token, because parsing would change numbers of more than 15 digits. */
export const tokens = (text) => text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+|"/g) ?? [];

/** JSON with indentation. */
export function indented(text) {
  let depth = 0;
  let out = "";
  let last = "";
  const line = () => `\n${"  ".repeat(Math.max(depth, 0))}`;
  for (const part of tokens(text)) {
    const opened = last === "{" || last === "[";
    if (part === "}" || part === "]") {
      depth -= 1;
      out += opened ? part : line() + part;
    } else {
      if (opened) out += line();
      if (part === "{" || part === "[") depth += 1;
      out += part === "," ? part + line() : part === ":" ? ": " : part;
    }
    last = part;
  }
  return out;
}
