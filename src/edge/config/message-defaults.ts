/** The setting `MESSAGE_DEFAULTS`: what `POST /messages` uses where a request names no model. */

import type { Identity } from '../auth/identity/caller.ts';
import * as z from '../kit/http/zod.ts';
import { editJson } from '../kit/json/edit.ts';
import type { JsonObject } from '../kit/json/object.ts';
import { agentName } from './setting-schemas.ts';

const FORM = 'must be {"model": …, "max_tokens": …, "system": …}, or {"agent": …} by itself';

export const messageDefaults = z.union(
  [
    z.strictObject({ agent: agentName }),
    z
      .strictObject({
        model: z.optional(z.string().check(z.minLength(1), z.maxLength(256))),
        max_tokens: z.optional(z.int().check(z.gte(1))),
        system: z.optional(z.string().check(z.minLength(1))),
      })
      .check(z.refine((defaults) => Object.keys(defaults).length > 0, FORM)),
  ],
  FORM,
);

/** The defaults of a request that names no model itself: an agent, or parts of a request. */
export interface MessageDefaults {
  agent?: string | undefined;
  model?: string | undefined;
  max_tokens?: number | undefined;
  system?: string | undefined;
}

/**
 * @param isSluiceRoute whether the route is Sluice's own, not one of Anthropic's below `/v1`
 * @returns the defaults that apply to a request: none with a restricted token; no agent where the request names a model
 */
export function getMessageDefaults(
  { only }: Pick<Identity, 'only'>,
  settings: { MESSAGE_DEFAULTS?: MessageDefaults | undefined },
  { isSluiceRoute, body }: { isSluiceRoute: boolean; body: JsonObject },
): MessageDefaults | undefined {
  const { MESSAGE_DEFAULTS: defaults } = settings;
  if (!isSluiceRoute || only || !defaults) return undefined;
  return defaults.agent !== undefined && typeof body.model === 'string' ? undefined : defaults;
}

/**
 * Adds the defaults that a request lacks.
 *
 * @param names the members that may be added
 * @returns the same text and JSON if it lacks none
 */
export function applyMessageDefaults<Body extends { text: string; json: JsonObject }>(
  body: Body,
  defaults: MessageDefaults,
  names: readonly (keyof MessageDefaults)[],
): Pick<Body, 'text' | 'json'> {
  const absent = names.filter((name) => defaults[name] !== undefined && body.json[name] === undefined);
  if (absent.length === 0) return body;
  const changes = Object.fromEntries(absent.map((name) => [name, JSON.stringify(defaults[name])]));
  const added = Object.fromEntries(absent.map((name) => [name, defaults[name]]));
  return { text: editJson(body.text, changes), json: { ...body.json, ...added } };
}

/** @returns the error message for a request without a model. @param model an id from the table of models */
export function createModelRequiredMessage(model: string | undefined): string {
  const example = model === undefined ? '' : `, such as "${model}"`;
  return `model: Field required. Send a model${example}, or the name of an \`agent\`. The operator can set defaults for POST /messages with MESSAGE_DEFAULTS.`;
}
