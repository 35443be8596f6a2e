/** A JSON feature that TypeScript's types do not contain yet. In a browser without it, numbers are rounded. */
interface JsonWithRawNumbers {
  parse(text: string, revive: (key: string, value: unknown, context?: { source?: string }) => unknown): unknown;
  rawJSON?(text: string): unknown;
}

/** Parses JSON so that `JSON.stringify` writes each number with the digits that it has. One that it would change is no number here. */
export function parseJsonPreservingNumbers(text: string): unknown {
  const { parse, rawJSON }: JsonWithRawNumbers = JSON;
  return parse(text, (_, value, { source } = {}) =>
    rawJSON && source !== undefined && typeof value === 'number' && String(value) !== source ? rawJSON(source) : value,
  );
}
