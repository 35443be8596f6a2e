/** The sources that Sluice comes with, one line each, by their names. A source without its secret is closed. */
export { github } from './github.ts';
export { slack } from './slack.ts';
export { standard } from './standard-source.ts';
export { stripe } from './stripe.ts';
