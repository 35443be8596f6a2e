/** The edge as this page sees it: who answers, who asks, and the client by which they talk. */
import { computed, signal } from '@preact/signals';
import { type Client, createClient, SluiceError } from '../../client/index.ts';
import type { HealthAnswer } from '../../health/health-answers.schema.ts';
import { loadModels } from './models.ts';
import { record } from './recording.ts';

const TOKEN_KEY = 'sluice-token';

/** The credential: kept for the tab's session, and nowhere else. */
export const token = signal(sessionStorage.getItem(TOKEN_KEY) ?? undefined);
export const upstream = signal<HealthAnswer['upstream'] | undefined>(undefined);
/** `gate`: a token is asked for. */
export const state = signal<'starting' | 'gate' | 'ready' | 'unreachable'>('starting');
/** Why the edge refused, in its own words. */
export const refusal = signal<string | undefined>(undefined);

const client = computed(() =>
  createClient({
    baseURL: location.origin,
    fetch: sent,
    ...(token.value === undefined ? {} : { token: token.value }),
  }),
);

/** @returns the client, with the credential that is in use now. */
export function edge(): Client {
  return client.value;
}

/** Finds out who answers and whether the credential holds. */
export async function start(): Promise<void> {
  try {
    const health = (await (await edge().fetch('/health')).json()) as HealthAnswer;
    upstream.value = health.upstream;
    await loadModels(edge());
    if (state.value !== 'gate') state.value = 'ready';
  } catch (thrown) {
    if (state.value === 'gate') return;
    refusal.value = sentenceOf(thrown);
    state.value = 'unreachable';
  }
}

/** Takes a token into use, or puts it away. */
export async function takeToken(next: string | undefined): Promise<void> {
  if (next === undefined) sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, next);
  token.value = next;
  refusal.value = undefined;
  state.value = 'starting';
  await start();
}

/** @returns what went wrong, as a sentence for people. */
export function sentenceOf(thrown: unknown): string {
  if (thrown instanceof SluiceError || thrown instanceof Error) return thrown.message;
  return String(thrown);
}

async function sent(url: string, init: RequestInit): Promise<Response> {
  const response = await record(url, init);
  if (response.status === 401) {
    const body = (await response
      .clone()
      .json()
      .catch(() => undefined)) as { error?: { message?: string } } | undefined;
    // The first question of a newcomer is no mistake of theirs.
    refusal.value = token.value === undefined ? undefined : body?.error?.message;
    state.value = 'gate';
  }
  return response;
}
