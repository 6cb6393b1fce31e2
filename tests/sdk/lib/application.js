// What the cases share: the binding of the application, and the world it runs in.

import { put } from './store.js';

export const world = JSON.parse(process.env.WORLD);

// The service key, as an application reads it.
export const key = JSON.parse(process.env.VCAP_SERVICES).destination[0].credentials;

// Writes the destinations of the world to the tenant of the binding.
export async function prepare() {
  await put(key, world.destinations);
}
