const JSON_TOKENS = /("[^"\\]*(?:\\.[^"\\]*)*")|([{[]\s*[}\]])|([{[])|([}\]])|([,:])|\s+/g;

/** Writes JSON on many lines, as people read it. Each number, string and key stays as it is written. @param json valid JSON */
export function indentJson(json: string): string {
  let depth = 0;
  const createLineBreak = (deeper = 0) => {
    depth += deeper;
    return `\n${'  '.repeat(depth)}`;
  };
  return json.replace(
    JSON_TOKENS,
    (_, string?: string, empty?: string, open?: string, close?: string, mark?: string) => {
      if (open) return open + createLineBreak(1);
      if (close) return createLineBreak(-1) + close;
      if (mark) return mark === ',' ? mark + createLineBreak() : ': ';
      return string ?? empty?.replace(/\s+/, '') ?? '';
    },
  );
}
