/** Reads OpenMetrics text strictly, as its grammar has it, and by a parser of Prometheus' older format. */
import parsePrometheus from 'parse-prometheus-text-format';
import { expect } from 'vitest';

/** One number of a scrape. */
interface Read {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const NAME = '[a-z_]+';
const LABEL = `${NAME}="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`;
const NUMBER = String.raw`-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|\+Inf|NaN)`;
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (${NUMBER})$`);
const SUFFIXES: Record<string, readonly string[]> = {
  counter: ['_total'],
  gauge: [''],
  summary: ['_count', '_sum'],
  histogram: ['_bucket', '_count', '_sum'],
};

/** @returns every number of a text, which must be OpenMetrics. Fails with the line that is not */
export function metricsIn(text: string): Read[] {
  expect(text.endsWith('\n# EOF\n')).toBe(true);
  const families = new Set<string>();
  const seen = new Set<string>();
  const reads: Read[] = [];
  let family = { name: '', type: '' };
  for (const line of text.slice(0, -'# EOF\n'.length).trimEnd().split('\n')) {
    const [, word, of = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (word === 'HELP') {
      expect(families, line).not.toContain(of);
      families.add(of);
      family = { name: of, type: '' };
    } else if (word === 'TYPE') {
      expect(of, line).toBe(family.name);
      family.type = rest;
    } else {
      const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? [];
      expect(name, `not of the grammar: ${line}`).not.toBe('');
      expect(
        (SUFFIXES[family.type] ?? []).map((suffix) => family.name + suffix),
        line,
      ).toContain(name);
      expect(seen, line).not.toContain(`${name}{${labels}}`);
      seen.add(`${name}{${labels}}`);
      const pairs = [...labels.matchAll(new RegExp(LABEL, 'g'))].map(([pair]) => {
        const at = pair.indexOf('=');
        return [pair.slice(0, at), JSON.parse(pair.slice(at + 1)) as string] as const;
      });
      reads.push({ name, labels: Object.fromEntries(pairs), value: Number(value.replace('+Inf', 'Infinity')) });
    }
  }
  agreesWithParser(text, reads);
  return reads;
}

/** The parser keeps the names of counters and gauges, and their labels. */
function agreesWithParser(text: string, reads: readonly Read[]): void {
  const parsed = parsePrometheus(text).flatMap(({ name, type, metrics }) =>
    type === 'HISTOGRAM' || type === 'SUMMARY'
      ? []
      : metrics.map(({ labels = {}, value }) => ({ name, labels, value: Number(value) })),
  );
  const plain = reads.filter(({ name }) => !/_(bucket|sum|count)$/.test(name));
  const sorted = (all: readonly Read[]) =>
    all.map((one) => JSON.stringify([one.name, Object.entries(one.labels).sort(), one.value])).sort();
  expect(sorted(parsed)).toEqual(sorted(plain));
}

/** @returns the names that a text gives, whether or not it has numbers of them now */
export function namesIn(text: string): Set<string> {
  const families = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  return new Set(families.flatMap(([, name, type = '']) => (SUFFIXES[type] ?? []).map((suffix) => name + suffix)));
}

/** @returns the sum of the numbers of a name that have these labels, among others */
export function sumOf(reads: readonly Read[], name: string, labels: Record<string, string> = {}): number {
  const has = (one: Read) =>
    one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value);
  return reads.filter(has).reduce((sum, { value }) => sum + value, 0);
}
