import { fileURLToPath } from 'node:url';

/** Whether this is a file of the package, and not of a checkout. */
export const isInPackage = !new URL(import.meta.url).pathname.endsWith('.ts');

/** The folder that is deployed: this checkout; where this is a file of the package, the folder in which the command runs. */
export const root = isInPackage ? process.cwd() : fileURLToPath(new URL('..', import.meta.url));
