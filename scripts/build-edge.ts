/** The build command of an edge that `sluice init` has made. Its page is that of the package. */
import { setDevelopment } from './development.ts';

const { WRANGLER_COMMAND = '' } = process.env;
await setDevelopment(WRANGLER_COMMAND, 'sluice/development', []);
