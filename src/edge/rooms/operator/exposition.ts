/** Writes metrics as OpenMetrics text, which Prometheus and what speaks its language read. */

import type { Family } from '../../health/told.ts';

export const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** @returns the text of these metrics, each name of which must be there once */
export function expositionOf(families: readonly Family[]): string {
  const lines = families.flatMap(({ name, type, help, samples }) => [
    `# HELP ${name} ${escaped(help)}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(({ suffix = '', labels = {}, value }) => `${name}${suffix}${labelsIn(labels)} ${value}`),
  ]);
  return `${lines.join('\n')}\n# EOF\n`;
}

function labelsIn(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(text: string): string {
  return text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
}
