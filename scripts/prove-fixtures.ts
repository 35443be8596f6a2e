/** Writes answers as fixtures, without what names an account, and with ids that stay the same. */
import { masked } from '../src/edge/kit/http/secrets.ts';
import type { Answer } from './prove-judge.ts';
import type { Proved } from './prove-run.ts';

/** An answer of the Claude API, as test/fixtures/proved has it. */
export interface Fixture extends Answer {
  call: string;
  /** When it came. */
  proved: string;
  /** What the edge booked; null where the ledger has no such request. */
  cost_usd: number | null;
}

const IDS = /\b(msg|req|toolu|srvtoolu|file|msgbatch|container)_[\w-]{8,}/g;
const UUID = /\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/g;
const SEALED = /"(signature|encrypted_content|encrypted_index|data)":( ?)"[^"]+"/g;

/** @returns a fixture, as JSON */
export function fixtureOf({ call, answer, booked }: Proved, proved: string): string {
  const ids = new Map<string, string>();
  const text = masked(answer.text)
    .replace(IDS, (id, kind: string) => {
      if (!ids.has(id)) ids.set(id, `${kind}_${ids.size + 1}`);
      return ids.get(id) ?? id;
    })
    .replace(UUID, '00000000-0000-0000-0000-000000000000')
    .replace(SEALED, '"$1":$2"sealed"');
  const fixture: Fixture = { call: call.name, proved, cost_usd: booked?.cost_usd ?? null, ...answer, text };
  return `${JSON.stringify(fixture, undefined, 2)}\n`;
}
