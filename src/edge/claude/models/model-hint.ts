/** Explains why a model cannot be used: it is retired, or its name is misspelt. */

import { findNearestName } from '../../kit/json/nearest-name.ts';
import { getModelLifecycle, type Model, type ModelTable } from './models.ts';

/**
 * Models that were retired before the table of models began.
 *
 * Source: https://platform.claude.com/docs/en/about-claude/model-deprecations
 */
const RETIRED_BEFORE: readonly (Pick<Model, 'id' | 'retires_at' | 'replacement'> & { aliases?: string[] })[] = [
  {
    id: 'claude-opus-4-1-20250805',
    aliases: ['claude-opus-4-1'],
    retires_at: '2026-08-05',
    replacement: 'claude-opus-4-8',
  },
  {
    id: 'claude-opus-4-20250514',
    aliases: ['claude-opus-4-0'],
    retires_at: '2026-06-15',
    replacement: 'claude-opus-4-8',
  },
  {
    id: 'claude-sonnet-4-20250514',
    aliases: ['claude-sonnet-4-0'],
    retires_at: '2026-06-15',
    replacement: 'claude-sonnet-4-6',
  },
  { id: 'claude-3-haiku-20240307', retires_at: '2026-04-20', replacement: 'claude-haiku-4-5-20251001' },
  {
    id: 'claude-3-7-sonnet-20250219',
    aliases: ['claude-3-7-sonnet-latest'],
    retires_at: '2026-02-19',
    replacement: 'claude-sonnet-4-6',
  },
  {
    id: 'claude-3-5-haiku-20241022',
    aliases: ['claude-3-5-haiku-latest'],
    retires_at: '2026-02-19',
    replacement: 'claude-haiku-4-5-20251001',
  },
  {
    id: 'claude-3-opus-20240229',
    aliases: ['claude-3-opus-latest'],
    retires_at: '2026-01-05',
    replacement: 'claude-opus-4-8',
  },
  {
    id: 'claude-3-5-sonnet-20241022',
    aliases: ['claude-3-5-sonnet-latest'],
    retires_at: '2025-10-28',
    replacement: 'claude-sonnet-4-6',
  },
  { id: 'claude-3-5-sonnet-20240620', retires_at: '2025-10-28', replacement: 'claude-sonnet-4-6' },
  { id: 'claude-3-sonnet-20240229', retires_at: '2025-07-21', replacement: 'claude-sonnet-4-6' },
];

/** A header takes these characters, and no model has others. */
const PLAIN_NAME = /^[\w.:@/-]{1,256}$/;

/**
 * @param name the model as the Claude API names it
 * @returns what to do about a model that cannot be used, as the value of a header; undefined where nothing is known
 */
export function createModelHint(name: string, models: ModelTable, now = Date.now()): string | undefined {
  if (!PLAIN_NAME.test(name)) return undefined;
  const known =
    RETIRED_BEFORE.find(({ id, aliases }) => id === name || aliases?.includes(name)) ?? models.findRow(name);
  if (known?.retires_at && getModelLifecycle(known, now) === 'retired') {
    const use = known.replacement === null ? 'Use another model' : `Use ${known.replacement}`;
    return `${name} was retired on ${known.retires_at.slice(0, 10)}. ${use}, or ask the operator to map the name with MODEL_ALIASES.`;
  }
  if (known) return undefined;
  const usable = models.rows.filter((row) => getModelLifecycle(row, now) !== 'retired');
  const meant = findNearestName(
    name,
    usable.map(({ id }) => id),
  );
  return meant === undefined ? undefined : `${name} is not a known model. Did you mean ${meant}?`;
}

/** @returns the header that explains the upstream's 404 for a model; none for another status */
export function createModelHintHeaders(status: number, name: string, models: ModelTable): Record<string, string> {
  const hint = status === 404 ? createModelHint(name, models) : undefined;
  return hint === undefined ? {} : { 'sluice-hint': hint };
}
