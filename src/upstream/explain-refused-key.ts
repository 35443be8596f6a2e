/** Explains to the operator why an upstream refuses the deployment's key. */
import type { ApiError } from '../http/errors.ts';

const MEANINGS: Readonly<Record<number, string>> = {
  401: 'does not know the key. Put a valid one in',
  402: 'does not answer until its bill is paid. Pay it, or put the key of another organization in',
  403: 'knows the key, and does not allow it to be used. Put another one in',
};
const MOST_SHOWN = 300;

interface KeyRefusal {
  /** The name of the upstream in the sentence. */
  name: string;
  /** The name of the setting that has the key. */
  setting: string;
  status: number;
  /** The upstream's own words, without any secret. */
  said: string;
}

/** @returns what the operator must do, and the upstream's own words; undefined for a status that is not about the key. */
export function explainRefusedKey({ name, setting, status, said }: KeyRefusal): string | undefined {
  const meaning = MEANINGS[status];
  return meaning && `${name} ${meaning} ${setting}. It says (${status}): ${said.slice(0, MOST_SHOWN)}`;
}

/**
 * Tells an operator who develops what only the log says otherwise: there only the operator can call.
 *
 * @returns the same for the only upstream, from what it has said: its status, type and words
 */
export function explainedTo(error: ApiError): string | undefined {
  const [, given, said = ''] = /^(\d+) (?:\w+: )?(.*)$/s.exec(error.upstreamSaid ?? '') ?? [];
  // The API says with a 400 that no credit is left.
  const status = given === '400' ? 402 : Number(given);
  return explainRefusedKey({ name: 'The Claude API', setting: 'ANTHROPIC_API_KEY', status, said });
}
