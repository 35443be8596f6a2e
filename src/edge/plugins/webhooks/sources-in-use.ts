/** The sources of webhooks of a deployment: those that its code defines, as its settings change them, and those of settings. */
import { memoizeBySettings } from '../../config/memoize-by-settings.ts';
import { createMalformedSettingsError } from '../../config/setting-faults.ts';
import type { Settings } from '../../config/settings.ts';
import { type HmacOptions, hmac } from '../../kit/delivery/hmac.ts';
import { type SourceEntry, sourcesOf } from './source-settings.ts';
import { defineWebhook, indexWebhooksBySource, MESSAGE_LABELS, type Webhook } from './sources/define-webhook.ts';
import { readTextAtPointer } from './sources/json-pointer.ts';

/** @returns the sources by their names. @throws ApiError 500 that names a malformed member of WEBHOOKS */
export type WebhookSourceReader = (settings: Settings) => ReadonlyMap<string, Webhook>;

/**
 * Makes the function that adds a deployment's settings to the sources of a Worker's code. Receiving and working on an event
 * must both use it: a source that only one of them knows would lose events.
 *
 * @throws TypeError for two sources of one name
 */
export function createWebhookSourceReader(webhooks: readonly Webhook[]): WebhookSourceReader {
  const ofCode = indexWebhooksBySource(webhooks);
  return memoizeBySettings((settings: Settings) => {
    const all = new Map(ofCode);
    for (const entry of sourcesOf(settings).values()) {
      const { source, verify } = entry;
      if (verify && ofCode.has(source)) {
        throw createMalformedSettingsError(
          `WEBHOOKS.${source}.verify (this Worker’s code already defines how this source is verified; remove the setting)`,
        );
      }
      const webhook = verify ? createWebhookFromSettings(entry, verify.hmac) : ofCode.get(source);
      // Skip a source without a definition: the settings may name a source that only another version of the Worker defines.
      if (webhook) all.set(source, applySourceSettings(webhook, entry));
    }
    return all;
  });
}

/** Makes the source that an entry defines. */
function createWebhookFromSettings({ source, id, text = [], subject }: SourceEntry, options: HmacOptions): Webhook {
  const readPointerOrUndefined = (pointer: string | undefined, body: unknown) =>
    // Treat an empty id as missing. Otherwise, all events of the source would have the same id and count as one event.
    (pointer !== undefined && readTextAtPointer(body, pointer)) || undefined;
  return defineWebhook({
    source,
    verify: hmac(options),
    id: ({ body }) => readPointerOrUndefined(id, body),
    text: ({ body }) =>
      text
        .map((pointer) => readTextAtPointer(body, pointer) ?? '')
        .filter((part) => part.trim() !== '')
        .join('\n\n'),
    subject: ({ body }) => readPointerOrUndefined(subject, body),
    labels: MESSAGE_LABELS,
  });
}

/** @returns a source with the classifier or the agent of its entry */
function applySourceSettings(webhook: Webhook, { source, agent, classifier }: SourceEntry): Webhook {
  if (classifier === undefined) return { ...webhook, agent: webhook.agent ?? agent };
  if (webhook.agent !== undefined) {
    throw createMalformedSettingsError(
      `WEBHOOKS.${source}.classifier (this Worker’s code uses an agent for this source; remove the setting)`,
    );
  }
  return { ...webhook, task: { classifier } };
}
