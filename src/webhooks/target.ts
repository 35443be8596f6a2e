import type { Target } from '../delivery/deliver.ts';
import type { Settings } from '../settings/settings.ts';
import type { SourceSettings } from '../settings/source-settings.ts';
import type { Webhook } from './sources/define-webhook.ts';

/** @returns where the results of a source are delivered; undefined if they are only kept */
export function targetOf({ deliver }: Webhook, { deliverUrl }: SourceSettings, settings: Settings): Target | undefined {
  if (typeof deliver === 'function') return { kind: 'function', deliver };
  const url = deliver ?? deliverUrl;
  if (url === undefined) return undefined;
  const own = deliverUrl === undefined ? undefined : URL.parse(deliverUrl)?.host;
  return {
    kind: 'url',
    url,
    hosts: new Set(own === undefined ? settings.DELIVER_HOSTS : [own, ...settings.DELIVER_HOSTS]),
  };
}
