import type { Webhook } from './sources/define-webhook.ts';
import * as shipped from './sources/shipped.ts';

/** The sources that the Worker accepts as soon as their secret is set. A Worker around it may have others. */
export const shippedWebhooks: readonly Webhook[] = Object.values(shipped);

/** The names of those sources. */
export const SHIPPED_SOURCES = Object.keys(shipped) as (keyof typeof shipped)[];
