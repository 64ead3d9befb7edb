package sanitize

import "strings"

// The lists that names and places are made of: common words, ASCII, each at most as long as the constants beside the
// transformers say. A change here changes what values map to.

func firstNames() []string {
	return strings.Fields(`
Aaron Abigail Adam Adrian Agnes Alan Albert Alexander Alice Alma Amanda Amber Amelia Amy Andrea Andrew Angela Anita
Anna Anthony Antonio Arthur Audrey Barbara Beatrice Benjamin Bernard Bertha Betty Beverly Blanche Bonnie Bradley
Brandon Brenda Brian Bruce Bryan Calvin Camille Carl Carla Carmen Carol Caroline Catherine Cecil Charles Charlotte
Cheryl Chester Christian Christine Clara Clarence Claude Claudia Clifford Clyde Colin Connie Constance Cora Corey
Craig Crystal Curtis Cynthia Daisy Dale Daniel Daphne Darlene David Dawn Deborah Denise Dennis Derek Diana Diane
Dolores Dominic Donald Donna Dora Doris Dorothy Douglas Duane Dwight Earl Edgar Edith Edmund Edna Edward Edwin Eileen
Elaine Eleanor Elias Elisa Elizabeth Ella Ellen Elmer Elsie Emily Emma Eric Erica Erin Ernest Esther Ethan Ethel
Eugene Eva Evan Evelyn Faith Felicia Felix Fernando Florence Floyd Frances Francis Frank Franklin Frederick Gabriel
Gail Gary George Gerald Geraldine Gilbert Gina Gladys Glenn Gloria Gordon Grace Gregory Gwendolyn Hannah Harold
Harriet Harry Harvey Hazel Heather Hector Heidi Helen Henry Herbert Herman Hilda Holly Howard Hugo Ida Irene Iris
Isaac Isabel Ivan Jack Jacob James Janet Janice Jasmine Jason Jean Jeffrey Jennifer Jeremy Jerome Jesse Jessica Joan
Joanna Joel John Jonathan Jordan Joseph Joshua Joyce Juan Judith Julia Julian Julie Justin Karen Karl Katherine
Kathleen Keith Kelly Kenneth Kevin Kimberly Kristen Kurt Kyle Larry Laura Lauren Laurence Leah Leon Leonard Leroy
Leslie Lester Lewis Lillian Linda Lloyd Lois Loretta Louis Louise Lucas Lucille Lucy Luis Luther Lydia Lynn Mabel
Madeline Marcus Margaret Maria Marian Marie Marilyn Mario Marion Marjorie Mark Martha Martin Marvin Mary Matthew
Maurice Maxine Megan Melanie Melissa Melvin Michael Michelle Mildred Milton Miriam Monica Morris Nancy Naomi Natalie
Nathan Nathaniel Neil Nelson Nicholas Nicole Nina Nora Norma Norman Olga Olive Oliver Olivia Oscar Otis Owen Pamela
Patricia Patrick Paul Paula Pauline Peggy Penelope Perry Peter Philip Phyllis Preston Priscilla Rachel Ralph Ramon
Randall Raymond Rebecca Regina Renee Rhonda Richard Rita Robert Roberta Robin Rodney Roger Roland Ronald Rosa Rose
Rosemary Roxanne Roy Ruby Russell Ruth Ryan Sabrina Sally Samantha Samuel Sandra Sara Scott Sean Seth Shannon Sharon
Sheila Shirley Sidney Simon Sonia Sophia Spencer Stacy Stanley Stella Stephanie Stephen Steven Stuart Susan Suzanne
Sylvia Tamara Teresa Terrence Thelma Theodore Theresa Thomas Tiffany Timothy Tina Todd Tracy Travis Troy Tyler Ursula
Valerie Vanessa Vera Vernon Veronica Victor Victoria Vincent Viola Violet Virgil Virginia Vivian Wallace Walter Wanda
Warren Wayne Wendy Wesley Wilbur Willard William Wilma Winifred Yolanda Yvonne Zachary`)
}

func lastNames() []string {
	return strings.Fields(`
Abbott Acosta Adams Adkins Aguilar Alexander Allen Alvarez Anderson Andrews Armstrong Arnold Atkins Austin Bailey
Baker Baldwin Ball Banks Barber Barker Barnes Barnett Barrett Bates Beck Becker Bell Bennett Benson Berry Bishop Black
Blair Blake Bowen Bowman Boyd Bradley Brady Brewer Bridges Briggs Brooks Brown Bryant Buchanan Burgess Burke Burns
Burton Bush Butler Byrd Caldwell Campbell Cannon Carlson Carpenter Carr Carroll Carter Castillo Castro Chambers
Chandler Chapman Chavez Christensen Clark Clarke Clayton Coleman Collier Collins Conner Cook Cooper Copeland Cox
Crawford Cross Cruz Cummings Cunningham Curry Curtis Daniels Davidson Davis Dawson Dean Delgado Dennis Diaz Dixon
Douglas Doyle Duncan Dunn Edwards Elliott Ellis Erickson Estrada Evans Farmer Ferguson Fernandez Fields Fisher
Fitzgerald Fleming Fletcher Flores Foster Fowler Fox Francis Franklin Frazier Freeman Fuller Garcia Gardner Garner
Garrett Garza George Gibbs Gibson Gilbert Gomez Gonzalez Goodman Goodwin Gordon Graham Grant Graves Gray Green Greene
Griffin Gross Guerrero Gutierrez Guzman Hale Hamilton Hammond Hampton Hansen Hanson Hardy Harmon Harper Harrington
Harris Harrison Harvey Hawkins Hayes Haynes Henderson Henry Hernandez Herrera Hicks Higgins Hodges Hoffman Holland
Holloway Holmes Holt Hopkins Horton Houston Howell Hubbard Hudson Hughes Hunt Hunter Ingram Jackson Jacobs Jenkins
Jennings Jensen Jimenez Johnson Johnston Jones Jordan Joseph Keller Kelley Kennedy Kim Klein Knight Lambert Lane
Larson Lawrence Lawson Leonard Lewis Lindsey Little Logan Long Lopez Love Lowe Lucas Lynch Lyons Mack Maldonado Malone
Mann Manning Marsh Marshall Martinez Mason Maxwell Mcbride Mccarthy Mccoy Mcdaniel Mcdonald Mcgee Mcguire Mckinney
Medina Mejia Mendez Mendoza Meyer Miles Miller Mills Mitchell Montgomery Moody Moore Morales Moran Moreno Morgan
Morris Morrison Morton Moss Mullins Munoz Murphy Murray Myers Nash Neal Nelson Newman Newton Nguyen Nichols Norris
Norton Nunez Obrien Oliver Olson Ortega Ortiz Owens Padilla Page Palmer Parker Parsons Patel Patterson Patton Payne
Pearson Perez Perkins Perry Peters Peterson Phelps Phillips Pierce Poole Porter Potter Powell Powers Price Quinn
Ramirez Ramos Ramsey Reed Reese Reeves Reid Reynolds Rhodes Richards Richardson Riley Rios Rivera Robbins Roberts
Robertson Robinson Rodgers Rodriguez Rogers Romero Rowe Ruiz Russell Ryan Salazar Sanchez Sanders Sandoval Santiago
Santos Saunders Schmidt Schneider Schultz Schwartz Shaw Shelton Sherman Silva Simmons Simpson Sims Singh Snyder Soto
Sparks Stanley Steele Stephens Stevens Stewart Stokes Stone Strickland Sullivan Sutton Swanson Tate Taylor Terry
Thompson Thornton Torres Townsend Tran Tucker Turner Tyler Underwood Valdez Vargas Vasquez Vaughn Vega Wade Wagner
Walker Wallace Walsh Walters Walton Warner Watkins Watson Watts Weaver Webb Weber Webster Welch Wells West Wheeler
White Wilkerson Wilkins Williams Williamson Willis Wilson Wolfe Wood Woods Wright Yang Yates Zimmerman`)
}

func streetNames() []string {
	return strings.Fields(`
Acorn Alder Apple Ash Aspen Bay Beech Birch Bluebell Bramble Bridge Brook Cedar Chapel Cherry Chestnut Church Clover
Copper Cypress Dogwood Elder Elm Fern Fir Forest Garden Glen Granite Grove Harbor Hawthorn Hazel Heather Hickory High
Hill Holly Ivy Juniper Lake Larch Laurel Lilac Lime Linden Locust Magnolia Main Maple Market Meadow Mill Mulberry
Myrtle Oak Olive Orchard Park Pear Pine Plum Pond Poplar Primrose Quarry Redwood Ridge River Rowan School Sequoia
Spring Spruce Station Stone Summit Sycamore Thistle Valley Vine Walnut Water Willow Winding Yew`)
}

func cityStarts() []string {
	return strings.Fields(`
Alder Amber Arden Ash Beck Birch Black Bright Brook Carl Cedar Clay Clear Cliff Cold Corn Crest Dale Deep East Elder
Elm Fair Fall Fern Fox Glen Gold Gran Green Hart Hazel Heath High Hollow Kings Lake Laurel Lime Lin Long Maple Marl
Mill Moor North Oak Old Owl Pine Queens Raven Red Ridge Rock Rose Rush Salt Sand Sea Silver South Stan Stone Sun Swan
Thorn Under Wal West Whit Wil Wild Winter Wood Yar`)
}

func companyWords() []string {
	return strings.Fields(`
Alpine Amber Anchor Arbor Arrow Atlas Aurora Beacon Bluewater Brightside Canyon Cascade Cedar Clearview Coastal
Compass Copper Crescent Crystal Delta Eastgate Echo Elmwood Ember Evergreen Fairview Falcon Frontier Glacier Golden
Granite Greenfield Harbor Heron Highland Horizon Ironwood Juniper Keystone Lakeside Lantern Maple Meridian Midland
Monarch Northwind Oakwood Orchard Pacific Pinnacle Pioneer Prairie Quarry Redwood Ridgeway Riverside Rosewood Sapphire
Seaside Silverline Skyline Solstice Sparrow Sterling Stonebridge Summit Sunrise Terrace Timber Tundra Valley Vanguard
Westgate Whitestone Willow Windmill Zenith`)
}

func companyTrades() []string {
	return strings.Fields(`
Analytics Bakery Builders Capital Catering Ceramics Consulting Dairy Design Electric Energy Engineering Farms Finance
Foods Freight Furniture Gardens Glass Hardware Holdings Imports Industries Insurance Labs Logistics Machines Marine
Media Metals Motors Optics Outfitters Packaging Paper Partners Plastics Printing Properties Records Research Robotics
Roofing Security Services Shipping Software Solar Studios Supply Systems Textiles Tools Trading Transport Travel
Ventures Windows`)
}
