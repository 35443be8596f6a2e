const JSON_TOKENS = /("[^"\\]*(?:\\.[^"\\]*)*")|([{[]\s*[}\]])|([{[])|([}\]])|([,:])|\s+/g;

/** Writes JSON on many lines, as people read it. Each number, string and key stays as it is written. @param json valid JSON */
export function indentJson(json: string): string {
  let depth = 0;
  const line = (deeper = 0) => {
    depth += deeper;
    return `\n${'  '.repeat(depth)}`;
  };
  return json.replace(
    JSON_TOKENS,
    (_, string?: string, empty?: string, open?: string, close?: string, mark?: string) => {
      if (open) return open + line(1);
      if (close) return line(-1) + close;
      if (mark) return mark === ',' ? mark + line() : ': ';
      return string ?? empty?.replace(/\s+/, '') ?? '';
    },
  );
}
