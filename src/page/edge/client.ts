/** Connects the page to the edge: the state of the connection, the credential, and the client. */

import { computed, signal } from '@preact/signals';
import { errorIn } from '../../client/errors.ts';
import { type Client, createClient, SluiceError } from '../../client/index.ts';
import type { HealthAnswer, ServedPath } from '../../edge/answers.ts';
import { fetchKept } from './last-calls.ts';
import { loadModels } from './models.ts';
import { plugins } from './plugins.ts';
import { detailsOf, sayError } from './sentences.ts';

const TOKEN_KEY = 'sluice-token';

/** The credential. It is kept only for the session of this tab. */
export const token = signal(sessionStorage.getItem(TOKEN_KEY) ?? undefined);
export const upstream = signal<HealthAnswer['upstream'] | undefined>(undefined);
/** Since when an upstream refuses the deployment, and what its operator must do; both undefined while none does. */
export const deploymentRefused = signal<Pick<HealthAnswer, 'since' | 'todo'>>({});
/** The names of the edge's own tools; it tells them in development. */
export const toolsOfEdge = signal<readonly string[]>([]);
/** `gate`: the page asks for a token. */
export const state = signal<'starting' | 'gate' | 'ready' | 'unreachable'>('starting');
/** Why there is no list of models: then nobody can be asked but agents, and all else goes on. */
export const modelsFault = signal<string | undefined>(undefined);
/** Why the edge has refused. */
export const refusal = signal<string | undefined>(undefined);

const client = computed(() =>
  createClient({ baseURL: location.origin, fetch: sent, ...(token.value === undefined ? {} : { token: token.value }) }),
);

/** @returns the client with the current credential */
export function edge(): Client {
  return client.value;
}

/** Asks the edge for JSON. @throws SluiceError in the words of the edge */
export async function readJson<T>(path: ServedPath, call?: Parameters<Client['fetch']>[1]): Promise<T> {
  return (await (await edge().fetch(path, call)).json()) as T;
}

/** Finds out whether the edge answers and the credential is valid. */
export async function start(): Promise<void> {
  try {
    await readHealth();
    await listModels();
    if (state.value !== 'gate') state.value = 'ready';
  } catch (thrown) {
    if (state.value === 'gate') return;
    refusal.value = sentenceOf(thrown);
    state.value = 'unreachable';
  }
}

async function readHealth(): Promise<void> {
  const health = await readJson<HealthAnswer>('/health');
  upstream.value = health.upstream;
  deploymentRefused.value = health;
  toolsOfEdge.value = health.tools ?? [];
  plugins.value = new Set(health.plugins);
}

/** Lists the models, and shows why that fails. The edge may have heard only now that its key is refused: it is asked again. */
export async function listModels(): Promise<void> {
  try {
    await loadModels(edge());
    modelsFault.value = undefined;
  } catch (thrown) {
    modelsFault.value = sentenceOf(thrown);
    if (state.value !== 'gate') await readHealth();
  }
}

export async function takeToken(next: string | undefined): Promise<void> {
  if (next === undefined) sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, next);
  token.value = next;
  refusal.value = undefined;
  state.value = 'starting';
  await start();
}

/** @returns an error as a sentence for the user; what the edge said of it stands on the lines below, see `Fault` */
export function sentenceOf(thrown: unknown): string {
  if (thrown instanceof SluiceError) return `${sayError(thrown)}\n${detailsOf(thrown)}`;
  return thrown instanceof Error ? thrown.message : String(thrown);
}

async function sent(url: string, init: RequestInit): Promise<Response> {
  const response = await fetchKept(url, init);
  if (response.status === 401) {
    // A newcomer without a token has made no mistake, so this is not shown as an error.
    refusal.value = token.value === undefined ? undefined : sentenceOf(await errorIn(response.clone()));
    state.value = 'gate';
  }
  return response;
}
