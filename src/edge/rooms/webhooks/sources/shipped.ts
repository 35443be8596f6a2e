import type { Webhook } from './define-webhook.ts';
import { github } from './github.ts';
import { slack } from './slack.ts';
import { standard } from './standard-source.ts';
import { stripe } from './stripe.ts';

/** The sources that Sluice comes with. A source without its secret is closed. */
export const shippedWebhooks: readonly Webhook[] = [github, stripe, slack, standard];
