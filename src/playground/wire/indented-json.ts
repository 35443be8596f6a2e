const TOKENS = /"(?:[^"\\]|\\.)*"|[^\s"{}[\],:]+|[{}[\],:]/g;

/** Writes JSON on many lines, as people read it. Each number, string and key stays as it is written. @param json valid JSON */
export function indentedJson(json: string): string {
  const tokens = json.match(TOKENS) ?? [];
  let depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  return tokens
    .map((token, at) => {
      const isEmpty = /^[{[][}\]]$/.test(token + tokens[at + 1]);
      if (token === '{' || token === '[') {
        depth += 1;
        return isEmpty ? token : token + line();
      }
      if (token === ',') return token + line();
      if (token === ':') return ': ';
      if (token !== '}' && token !== ']') return token;
      depth -= 1;
      return /^[{[]$/.test(tokens[at - 1] ?? '') ? token : line() + token;
    })
    .join('');
}
