/** The routes of classification. */
import type * as z from 'zod';
import type { NamedRow, Page } from '../../client/index.ts';
import type { putClassifier } from '../../schemas/classifiers.ts';
import type { ClassifyAnswer, classifyRequest } from '../../schemas/classify.ts';
import type { evaluateRequest, evaluation } from '../../schemas/evaluation.ts';
import { edge } from '../edge/client.ts';

export type ClassifyRequest = z.input<typeof classifyRequest>;
export type ClassifierPut = z.input<(typeof putClassifier)['fields']>;
export type EvaluateRequest = z.input<typeof evaluateRequest>;
export type Evaluation = z.output<typeof evaluation>;
export type { ClassifyAnswer };

export async function classify(request: ClassifyRequest): Promise<ClassifyAnswer> {
  return await json('/classify', 'POST', request);
}

export async function listClassifiers(): Promise<NamedRow[]> {
  const response = await edge().fetch('/classifiers', { query: { limit: 1_000 } });
  return ((await response.json()) as Page<NamedRow>).data;
}

/** @returns name@version */
export async function storeClassifier(name: string, classifier: ClassifierPut): Promise<{ version: string }> {
  return await json(`/classifiers/${encodeURIComponent(name)}`, 'PUT', classifier);
}

export async function evaluate(name: string, request: EvaluateRequest): Promise<Evaluation> {
  return await json(`/classifiers/${encodeURIComponent(name)}/evaluate`, 'POST', request);
}

async function json<T>(path: string, method: string, body: unknown): Promise<T> {
  return (await (await edge().fetch(path, { method, body })).json()) as T;
}
