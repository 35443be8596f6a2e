import type { Settings } from '../../config/settings.ts';
import type { DeliveryTarget } from '../../kit/delivery/deliver.ts';
import { getAllowedHosts } from '../../kit/delivery/deliver-event.ts';
import { sourcesOf } from './source-settings.ts';
import type { Webhook } from './sources/define-webhook.ts';
import type { AgentAnswerDelivery, ClassificationDelivery } from './webhooks-answers.schema.ts';

/** @returns where the results of a source are delivered; undefined if they are only kept */
export function createDeliveryTarget(
  { source, deliver }: Webhook,
  settings: Settings,
): DeliveryTarget<ClassificationDelivery | AgentAnswerDelivery> | undefined {
  if (typeof deliver === 'function') return { kind: 'function', deliver };
  const deliverUrl = sourcesOf(settings).get(source)?.deliver_url;
  const url = deliver ?? deliverUrl;
  return url === undefined ? undefined : { kind: 'url', url, hosts: getAllowedHosts(deliverUrl, settings) };
}
